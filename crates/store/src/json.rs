//! JSON that passes through: kept as the text it is stored as, checked once, parsed only by whoever looks inside.
//!
//! A list of runs goes from the database to the socket without building a tree for every input and output.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// One JSON value as text. Serialises as that value.
#[derive(Clone)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The value as JSON.
    ///
    /// # Errors
    /// When it cannot be JSON (a map whose keys are no text).
    pub fn of(value: &impl Serialize) -> Result<Self> {
        serde_json::value::to_raw_value(value).map(Self).map_err(Error::bug)
    }

    /// Text that has to be one JSON value.
    ///
    /// # Errors
    /// `Corrupt` when it is none.
    pub fn from_text(text: String) -> Result<Self> {
        RawValue::from_string(text)
            .map(Self)
            .map_err(|error| Error::Corrupt { what: "JSON", detail: error.to_string() })
    }

    /// `null`.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        String::from(Box::<str>::from(self.0))
    }

    /// The value as a type.
    ///
    /// # Errors
    /// `Corrupt` when it has another shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.as_str()).map_err(|error| Error::Corrupt { what: "JSON", detail: error.to_string() })
    }
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// By text: `1.0` and `1` differ.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}
