//! `words!`: an enum that is one of a few words in a text column and in the API, declared once.

/// Declares the enum with its word for each variant, to write, read and show; `$what` names it where a stored word is unknown.
macro_rules! words {
    (
        $what:literal;
        $(#[$doc:meta])*
        pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The name in the API and the database.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err($crate::error::Error::Corrupt { what: $what, detail: other.into() }),
                }
            }
        }

        impl $crate::sql::Column for $name {
            fn read(cell: $crate::sql::Cell<'_>) -> $crate::error::Result<Self> {
                <String as $crate::sql::Column>::read(cell)?.parse()
            }
        }
    };
}

pub(crate) use words;
