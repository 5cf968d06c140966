//! In which spelling a key was found: for the finding, which says that and where, and never what.

use std::fmt;

macro_rules! variants {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// One spelling of a key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Variant { $($(#[$doc])* $name,)* }

        impl Variant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

variants! {
    /// As it is.
    Raw = "raw";
    /// Back to front.
    Reversed = "reversed";
    /// Hexadecimal digits.
    Hex = "hex";
    /// UTF-16, either order.
    Utf16 = "utf16";
    /// Base64 at any of its alignments.
    Base64 = "base64";
    /// With bytes written `%XX`.
    Percent = "percent";
    /// With JSON escapes, or cut by line breaks.
    Json = "json";
    /// With HTML entities.
    Html = "html";
}

/// A set of spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Variants(u16);

impl Variants {
    /// Adds one.
    pub(super) fn insert(&mut self, variant: Variant) {
        self.0 |= 1 << variant as u16;
    }

    /// Adds all of another set.
    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether it has this one.
    pub const fn contains(self, variant: Variant) -> bool {
        self.0 & (1 << variant as u16) != 0
    }

    /// What it has, in the order of [`Variant::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Variant> {
        Variant::ALL.iter().copied().filter(move |variant| self.contains(*variant))
    }
}

impl fmt::Display for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, variant) in self.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { "+" } else { "" }, variant.as_str())?;
        }
        Ok(())
    }
}
