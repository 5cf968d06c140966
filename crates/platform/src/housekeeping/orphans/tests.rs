use livery_core::id::{FileId, OrgId, RunId};

use super::{Owner, owner_of, position};

#[test]
fn a_key_says_whose_bytes_it_holds() {
    let (org, file, run) = (OrgId::from_bits(7), FileId::from_bits(9), RunId::from_bits(11));
    let name = file.to_string();
    let end = &name[name.len() - 2..];
    assert_eq!(owner_of(&format!("files/{org}/{end}/{file}")), Owner::File(org, file));
    assert_eq!(owner_of(&format!("snapshots/{org}/{run}/42.tgz")), Owner::Copy(org, run, 42));
    assert_eq!(owner_of(&format!("files/{org}/{end}/{file}.part")), Owner::Part);
    for unknown in ["files", "files/x/y/z", "snapshots/a/b/c.tgz", "probes/nod_x", "", "files/org/part"] {
        assert_eq!(owner_of(unknown), Owner::Unknown, "{unknown}");
    }
    assert_eq!(owner_of(&format!("files/{org}/zz/{file}")), Owner::Unknown, "in a folder that is not its own");
}

#[test]
fn a_round_goes_on_where_the_last_one_stopped() {
    assert_eq!(position(None), (0, None));
    assert_eq!(position(Some("files/a/b".into())), (0, Some("files/a/b".into())));
    assert_eq!(position(Some("snapshots".into())), (1, None));
    assert_eq!(position(Some("snapshots/x".into())), (1, Some("snapshots/x".into())));
    assert_eq!(position(Some("strange".into())), (0, None), "a cursor of another version begins again");
}
