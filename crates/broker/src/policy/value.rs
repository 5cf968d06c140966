//! Values of policies, and a JSON body as one. What could be read in two ways is not read at all.
//!
//! Whole numbers are `Long`, `99.0` too; others with at most four digits behind the point are `decimal`; the rest is text.
//! No two of these compare with each other: `amount < 100` on `99.5` is an error, and an error is a no. `null` is an empty
//! record. Lists are sets.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{BODY_BYTES_MAX, BODY_NODES_MAX};

/// Beyond this a float no longer names one whole number.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;
/// A decimal counts ten-thousandths.
const DECIMAL_UNIT: i64 = 10_000;
/// Digits of a decimal behind its point.
const DECIMAL_DIGITS: usize = 4;

const TEXT_BYTES_PER_STEP: u64 = 64;

/// A value. Cheap to copy: what is large is shared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// In ten-thousandths.
    Decimal(i64),
    /// Text.
    Text(Arc<str>),
    /// `Type::"id"`.
    Entity(Uid),
    /// Each value once.
    Set(Arc<BTreeSet<Value>>),
    /// By name.
    Record(Record),
}

/// Values by name.
pub(super) type Record = Arc<BTreeMap<String, Value>>;

/// The name of a thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Uid {
    pub(super) kind: Arc<str>,
    pub(super) id: Arc<str>,
}

impl Uid {
    pub(super) fn new(kind: &str, id: &str) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// What comparing it costs at most, in steps of an evaluation: one for each value in it, and for each 64 bytes of text.
    pub(super) fn weight(&self) -> u64 {
        1 + match self {
            Self::Text(text) => text.len() as u64 / TEXT_BYTES_PER_STEP,
            Self::Set(set) => set.iter().map(Self::weight).sum(),
            Self::Record(record) => record.values().map(Self::weight).sum(),
            Self::Bool(_) | Self::Long(_) | Self::Decimal(_) | Self::Entity(_) => 0,
        }
    }

    /// What kind of value it is, for the one who wrote the policy.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a bool",
            Self::Long(_) => "a long",
            Self::Decimal(_) => "a decimal",
            Self::Text(_) => "a string",
            Self::Entity(_) => "an entity",
            Self::Set(_) => "a set",
            Self::Record(_) => "a record",
        }
    }
}

/// `-?digits.digits`, one to four of them behind the point.
pub(super) fn decimal(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, behind) = digits.split_once('.')?;
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(behind) || behind.len() > DECIMAL_DIGITS {
        return None;
    }
    let behind: i64 = format!("{behind:0<DECIMAL_DIGITS$}").parse().ok()?;
    let whole: i64 = whole.parse().ok()?;
    whole.checked_mul(DECIMAL_UNIT)?.checked_add(behind)?.checked_mul(sign)
}

/// The record a body is; `None` when it is not exactly one JSON object, or names a key twice.
pub(super) fn body(bytes: &[u8]) -> Option<Value> {
    json(bytes).filter(|value| matches!(value, Value::Record(_)))
}

/// The value a body is; `None` when it is not exactly one, or names a key twice.
pub(super) fn json(bytes: &[u8]) -> Option<Value> {
    if bytes.len() > BODY_BYTES_MAX {
        return None;
    }
    let left = Cell::new(BODY_NODES_MAX);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Reader { left: &left }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(value)
}

fn float(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < WHOLE_FLOAT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and far below the largest i64")]
        return Value::Long(number as i64);
    }
    let text = number.to_string();
    decimal(&text).map_or_else(|| Value::text(&text), Value::Decimal)
}

/// Reads one value, and counts it.
#[derive(Clone, Copy)]
struct Reader<'a> {
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Record(Record::default()))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Long(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| Value::text(&number.to_string()), Value::Long))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut set = BTreeSet::new();
        while let Some(item) = items.next_element_seed(self)? {
            set.insert(item);
        }
        Ok(Value::Set(Arc::new(set)))
    }

    /// Upstreams differ in which of two equal keys they believe, and some take `Amount` for `amount`.
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let (mut record, mut folded) = (BTreeMap::new(), BTreeSet::new());
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(self)?;
            if !folded.insert(name.to_lowercase()) {
                return Err(A::Error::custom("a key twice"));
            }
            record.insert(name, value);
        }
        Ok(Value::Record(Arc::new(record)))
    }
}
