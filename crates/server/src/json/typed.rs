//! A value to a type, with errors that know what kind they are and where.
//!
//! `serde_json` tells an unknown field from a wrong type only in its message. Here the error is a value: the deserializer
//! below is `serde_json`'s own walk over a [`Value`] again, with an error type that keeps kind and JSON Pointer (RFC 6901).

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer as _, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// Most characters of a message that a type's own parser made.
const DETAIL_CHARS_MAX: usize = 400;

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    UnknownField,
    MissingField,
    WrongType,
    InvalidValue,
}

impl FaultKind {
    const ALL: [Self; 4] = [Self::UnknownField, Self::MissingField, Self::WrongType, Self::InvalidValue];

    /// The code of the field.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::UnknownField => "unknown_field",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::InvalidValue => "invalid_value",
        }
    }
}

/// The first thing that does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

/// Reads a value as `T`.
///
/// # Errors
/// The first fault.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    T::deserialize(Typed(value))
}

impl Fault {
    fn new(kind: FaultKind, detail: impl fmt::Display) -> Self {
        let detail: String = detail.to_string().chars().take(DETAIL_CHARS_MAX).collect();
        Self { kind, pointer: String::new(), detail }
    }

    /// The fault in a text that [`Display`](fmt::Display) made.
    fn travelled(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(MARK)?.splitn(3, MARK);
        let (code, pointer, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = FaultKind::ALL.into_iter().find(|kind| kind.code() == code)?;
        Some(Self { kind, pointer: pointer.to_owned(), detail: detail.to_owned() })
    }

    fn within(mut self, part: impl fmt::Display) -> Self {
        let part = part.to_string().replace('~', "~0").replace('/', "~1");
        self.pointer = format!("/{part}{}", self.pointer);
        self
    }
}

/// Stands between the parts of a fault that travels as text.
const MARK: char = '\0';

/// A type may pass the error of its inside on as text (`Error::custom`): then kind and place travel in the text, and
/// [`Fault::travelled`] reads them back.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{}{MARK}{}{MARK}{}", self.kind.code(), self.pointer, self.detail)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        Self::travelled(&text).unwrap_or_else(|| Self::new(FaultKind::InvalidValue, text))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(FaultKind::WrongType, format_args!("expected {expected}, found {}", kind_of(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(FaultKind::InvalidValue, format_args!("expected {expected}, found {found}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let variant = crate::problem::quoted(variant);
        Self::new(FaultKind::InvalidValue, format_args!("{variant} is none of: {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let shown = crate::problem::quoted(field);
        let fault = match expected {
            [] => Self::new(FaultKind::UnknownField, format_args!("the field {shown} is unknown; none is known here")),
            _ => {
                let known = expected.join(", ");
                Self::new(FaultKind::UnknownField, format_args!("the field {shown} is unknown; known are: {known}"))
            }
        };
        fault.within(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(FaultKind::MissingField, format_args!("the field `{field}` is missing")).within(field)
    }
}

/// The JSON name of what was found, without its content: an answer repeats no more of a body than it must.
fn kind_of(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Str(_) | Unexpected::Char(_) => "text",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "a list",
        Unexpected::Map | Unexpected::StructVariant | Unexpected::NewtypeVariant => "an object",
        _ => "something else",
    }
}

struct Typed(Value);

impl<'de> Deserializer<'de> for Typed {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items { rest: items.into_iter(), index: 0 }),
            Value::Object(map) => visitor.visit_map(Entries { rest: map.into_iter(), current: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// Objects alone: derived types would take a list of their fields' values too.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => Err(Fault::new(FaultKind::WrongType, "expected an object")),
        }
    }

    /// Only enums without content come in requests: text.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => {
                let text: StringDeserializer<Fault> = text.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            _ => Err(Fault::new(FaultKind::WrongType, format_args!("expected one of: {}", variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items {
    rest: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(value) = self.rest.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Typed(value)).map(Some).map_err(|fault| fault.within(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries {
    rest: <Map<String, Value> as IntoIterator>::IntoIter,
    current: Option<(String, Value)>,
}

impl<'de> de::MapAccess<'de> for Entries {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        let text: StringDeserializer<Fault> = key.clone().into_deserializer();
        self.current = Some((key, value));
        seed.deserialize(text).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let (key, value) = self.current.take().unwrap_or_default();
        seed.deserialize(Typed(value)).map_err(|fault| fault.within(key))
    }
}
