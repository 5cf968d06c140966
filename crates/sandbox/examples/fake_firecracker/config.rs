//! What a machine may be configured with: the parts of Firecracker's OpenAPI description that Livery uses, field by field.
//!
//! An unknown part or field, one that is missing, and one of another type are errors, as they are to Firecracker.

use crate::json::Json;

pub(crate) enum Is {
    Text,
    Bool,
    /// A whole number in a range.
    Whole(f64, f64),
    OneOf(&'static [&'static str]),
}

/// Name, type, and whether it has to be there.
pub(crate) type Field = (&'static str, Is, bool);

const BOOT_SOURCE: &[Field] =
    &[("kernel_image_path", Is::Text, true), ("initrd_path", Is::Text, false), ("boot_args", Is::Text, false)];
const DRIVE: &[Field] = &[
    ("drive_id", Is::Text, true),
    ("is_root_device", Is::Bool, true),
    ("partuuid", Is::Text, false),
    ("cache_type", Is::OneOf(&["Unsafe", "Writeback"]), false),
    ("is_read_only", Is::Bool, false),
    ("path_on_host", Is::Text, false),
    ("io_engine", Is::OneOf(&["Sync", "Async"]), false),
];
const MACHINE: &[Field] = &[
    ("vcpu_count", Is::Whole(1.0, 32.0), true),
    ("mem_size_mib", Is::Whole(1.0, 16_777_216.0), true),
    ("smt", Is::Bool, false),
    ("track_dirty_pages", Is::Bool, false),
    ("huge_pages", Is::OneOf(&["None", "2M"]), false),
];
const VSOCK: &[Field] = &[
    ("guest_cid", Is::Whole(3.0, 4_294_967_295.0), true),
    ("uds_path", Is::Text, true),
    ("vsock_id", Is::Text, false),
];

/// Bodies of requests.
pub(crate) const STATE: &[Field] = &[("state", Is::OneOf(&["Paused", "Resumed"]), true)];
pub(crate) const CREATE: &[Field] = &[
    ("snapshot_type", Is::OneOf(&["Full", "Diff"]), false),
    ("snapshot_path", Is::Text, true),
    ("mem_file_path", Is::Text, true),
];
/// Beside `mem_backend`, which is an object of its own.
pub(crate) const LOAD: &[Field] =
    &[("snapshot_path", Is::Text, true), ("track_dirty_pages", Is::Bool, false), ("resume_vm", Is::Bool, false)];
pub(crate) const MEMORY: &[Field] =
    &[("backend_type", Is::OneOf(&["File", "Uffd"]), true), ("backend_path", Is::Text, true)];

/// The parts of a configuration file; the field's flag says whether it must be there.
const PARTS: &[(&str, &[Field], bool)] = &[
    ("boot-source", BOOT_SOURCE, true),
    ("machine-config", MACHINE, false),
    ("vsock", VSOCK, false),
    ("entropy", &[], false),
];

/// A configuration file, checked.
pub(crate) fn read(text: &str) -> Result<Json, String> {
    let whole = Json::parse(text).map_err(|error| format!("Invalid JSON: {error}"))?;
    let Json::Map(parts) = &whole else { return Err("Invalid JSON: no object".to_owned()) };
    let Some(Json::List(drives)) = whole.member("drives") else { return Err("missing field `drives`".to_owned()) };
    for drive in drives {
        check("drives", drive, DRIVE)?;
    }
    for (name, value) in parts.iter().filter(|(name, _)| name != "drives") {
        let known = PARTS.iter().find(|(known, ..)| known == name);
        let (_, fields, _) = known.ok_or_else(|| format!("unknown part `{name}`"))?;
        check(name, value, fields)?;
    }
    match PARTS.iter().find(|(name, _, needed)| *needed && whole.member(name).is_none()) {
        Some((name, ..)) => Err(format!("missing field `{name}`")),
        None => Ok(whole),
    }
}

pub(crate) fn check(part: &str, value: &Json, fields: &[Field]) -> Result<(), String> {
    let Json::Map(members) = value else { return Err(format!("{part}: expected an object")) };
    for (name, value) in members {
        let field = fields.iter().find(|(known, ..)| known == name);
        let (_, is, _) = field.ok_or_else(|| format!("{part}: unknown field `{name}`"))?;
        let good = match (is, value) {
            (Is::Text, Json::Text(_)) | (Is::Bool, Json::Bool(_)) => true,
            (Is::Whole(least, most), Json::Number(number)) => {
                number.fract() == 0.0 && (*least..=*most).contains(number)
            }
            (Is::OneOf(words), Json::Text(text)) => words.contains(&text.as_str()),
            _ => false,
        };
        if !good {
            return Err(format!("{part}: invalid value for `{name}`: {value:?}"));
        }
    }
    match fields.iter().find(|(name, _, needed)| *needed && value.member(name).is_none()) {
        Some((name, ..)) => Err(format!("{part}: missing field `{name}`")),
        None => Ok(()),
    }
}
