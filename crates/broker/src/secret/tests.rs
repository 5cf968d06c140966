//! That `Secret` lacks the traits it must lack, and does what little it does.

use super::Secret;

/// Compiles only while `$type` does *not* implement `$trait`: with the trait, two blanket implementations apply and the
/// method call below is ambiguous.
macro_rules! assert_lacks {
    ($type:ty: $($trait:path),+ $(,)?) => {$(
        const _: fn() = || {
            trait Probe<Marker> {
                fn probe() {}
            }
            struct WithTrait;
            impl<T: ?Sized> Probe<()> for T {}
            impl<T: ?Sized + $trait> Probe<WithTrait> for T {}
            let _ = <$type as Probe<_>>::probe;
        };
    )+};
}

assert_lacks!(
    Secret: std::fmt::Debug, std::fmt::Display, std::fmt::LowerHex, serde::Serialize, Clone, PartialEq, std::hash::Hash,
    AsRef<[u8]>, std::ops::Deref, std::borrow::Borrow<[u8]>, Into<Vec<u8>>, ToString,
);
assert_lacks!(crate::seal::Dek: std::fmt::Debug, std::fmt::Display, serde::Serialize, Clone, AsRef<[u8]>);
assert_lacks!(crate::seal::Kek: std::fmt::Debug, std::fmt::Display, serde::Serialize, Clone, AsRef<[u8]>);
assert_lacks!(crate::seal::Sealer: std::fmt::Debug, serde::Serialize, Clone);
assert_lacks!(crate::transport::Credential: std::fmt::Debug, serde::Serialize, Clone);
assert_lacks!(crate::transport::Outbound: std::fmt::Debug, serde::Serialize);
assert_lacks!(crate::scrub::Matcher: std::fmt::Debug, serde::Serialize);

#[test]
fn compares_without_giving_away_where_it_differs() {
    let secret = Secret::from("correct horse".to_owned());
    assert!(secret.ct_eq(b"correct horse"));
    assert!(!secret.ct_eq(b"correct horsf"));
    assert!(!secret.ct_eq(b"correct"));
    assert_eq!(secret.len(), 13);
    assert!(!secret.is_empty());
}
