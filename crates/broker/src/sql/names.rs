//! Names that no statement may hold: functions that reach files, programs, other servers or other sessions, that change what a
//! session may do, or that run a text as SQL. A name in quotes is the same name; whether it is called is not asked.

/// Names, each with what it would do.
const NEVER: &[(&str, &[&str])] = &[
    (
        "what a session may do is said when it begins",
        &["set_config", "pg_reload_conf", "pg_settings", "pg_file_settings"],
    ),
    (
        "a text that is run as a statement is not looked at first",
        &[
            "query_to_xml",
            "query_to_xmlschema",
            "query_to_xml_and_xmlschema",
            "cursor_to_xml",
            "cursor_to_xmlschema",
            "ts_stat",
            "ts_rewrite",
            "xpath_table",
        ],
    ),
    (
        "files of the server are out of reach",
        &[
            "pg_stat_file",
            "pg_current_logfile",
            "pg_rotate_logfile",
            "pg_rotate_logfile_old",
            "pg_sync_file",
            "pg_hba_file_rules",
            "pg_ident_file_mappings",
            "lo_import",
            "lo_export",
            "lo_creat",
            "lo_create",
            "lo_open",
            "lo_put",
            "lo_from_bytea",
            "lo_truncate",
            "lo_truncate64",
            "lo_unlink",
            "lowrite",
        ],
    ),
    (
        "other sessions and the server itself are left alone",
        &[
            "pg_terminate_backend",
            "pg_cancel_backend",
            "pg_notify",
            "pg_promote",
            "pg_switch_wal",
            "pg_switch_xlog",
            "pg_export_snapshot",
            "pg_import_system_collations",
            "pg_start_backup",
            "pg_stop_backup",
            "pg_backup_start",
            "pg_backup_stop",
            "pg_log_backend_memory_contexts",
            "pg_background_launch",
        ],
    ),
    (
        "what roles and other servers are logged in to with is nobody's to read",
        &[
            "pg_authid",
            "pg_shadow",
            "pg_user_mapping",
            "pg_user_mappings",
            "_pg_user_mappings",
            "user_mapping_options",
            "pg_subscription",
        ],
    ),
    (
        "no other server is asked from within a database",
        &[
            "http",
            "http_get",
            "http_post",
            "http_put",
            "http_patch",
            "http_delete",
            "http_head",
            "aws_lambda",
            "aws_s3",
        ],
    ),
];

/// Beginnings of names, likewise.
const NEVER_BEGINNINGS: &[(&str, &[&str])] = &[
    ("no other server is asked from within a database", &["dblink", "postgres_fdw_", "http_set_"]),
    ("files of the server are out of reach", &["pg_read_", "pg_ls_", "pg_file_", "pg_logdir_"]),
    ("a text that is run as a statement is not looked at first", &["crosstab", "connectby"]),
    (
        "other sessions and the server itself are left alone",
        &[
            "pg_logical_",
            "pg_replication_",
            "pg_create_",
            "pg_drop_replication",
            "pg_copy_",
            "pg_wal_replay_",
            "pg_stat_reset",
        ],
    ),
];

/// Functions of the server's own that change something, or lock it, in what looks like a query.
const CHANGING: &[&str] = &["nextval", "setval", "gin_clean_pending_list"];

/// Beginnings of names, likewise.
const CHANGING_BEGINNINGS: &[&str] = &["pg_advisory_", "pg_try_advisory_", "brin_summarize_", "brin_desummarize_"];

/// Whether a name is that of a function that changes something.
pub(super) fn is_changing(name: &str) -> bool {
    CHANGING.contains(&name) || CHANGING_BEGINNINGS.iter().any(|start| name.starts_with(start))
}

/// Settings that a session may change: how values are written and how a query is planned. Nothing that limits it is here.
const SETTINGS: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "jit",
    "timezone",
    "xmlbinary",
    "xmloption",
];

/// Why a name is never let through; `None`: it may be there.
pub(super) fn why_never(name: &str) -> Option<&'static str> {
    let exact = NEVER.iter().find(|(_, names)| names.contains(&name)).map(|(why, _)| *why);
    let beginning = || {
        NEVER_BEGINNINGS.iter().find(|(_, all)| all.iter().any(|start| name.starts_with(start))).map(|(why, _)| *why)
    };
    exact.or_else(beginning)
}

/// Whether a session may set it. A name that is settable can stand in a statement as it is.
pub(crate) fn is_settable(name: &str) -> bool {
    let is_plain = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    SETTINGS.contains(&name) || name.strip_prefix("enable_").is_some_and(is_plain)
}
