//! Text for and from the model: shortening, numbering lines, edits. Pure helpers of the tools.

mod edit;
mod image;
mod lines;
mod shorten;

pub use edit::{EditError, Edited, apply_edit};
pub use image::image_type;
pub use lines::{LINE_BYTES_MAX, LINES_DEFAULT, numbered_lines};
pub use shorten::shorten;

/// Most text of one tool result that the model gets, in bytes.
pub const RESULT_BYTES_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests;
