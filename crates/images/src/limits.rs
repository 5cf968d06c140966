//! How much an image may be. Real ones stay far below; what does not is refused with the limit's name.

/// Limits of one import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Layers of an image.
    pub layers: usize,
    /// Names in all layers of an image together.
    pub entries: u64,
    /// Bytes of all layers of an image together: as they come, and unpacked.
    pub unpacked_bytes: u64,
    /// Bytes of the names that one layer takes away, which are held in memory.
    pub hidden_bytes: usize,
    /// One file in a layer.
    pub file_bytes: u64,
    /// One blob as it comes.
    pub blob_bytes: u64,
    /// How many times larger a layer may become by unpacking, beyond the first [`Self::ratio_free_bytes`].
    pub ratio: u64,
    /// What a layer may become before its ratio is looked at.
    pub ratio_free_bytes: u64,
    /// A manifest, an index or a configuration.
    pub document_bytes: u64,
    /// Images in one archive, and manifests in one index.
    pub manifests: usize,
    /// Names in the archive that carries an image.
    pub archive_entries: usize,
    /// Images in a store.
    pub images: usize,
    /// Names of one image.
    pub names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 128,
            entries: 1_000_000,
            unpacked_bytes: 16 << 30,
            hidden_bytes: 64 << 20,
            file_bytes: 8 << 30,
            blob_bytes: 8 << 30,
            ratio: 200,
            ratio_free_bytes: 64 << 20,
            document_bytes: 4 << 20,
            manifests: 256,
            archive_entries: 16_384,
            images: 1_000,
            names: 16,
        }
    }
}

/// Longest path of a layer's entry, and longest target of a link.
pub(crate) const PATH_BYTES_MAX: usize = 4_096;
/// Longest part of a path.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Deepest path.
pub(crate) const DEPTH_MAX: usize = 64;
/// Folders and links at the top of an image: each is a mount of every sandbox.
pub(crate) const TOP_MAX: usize = 64;
