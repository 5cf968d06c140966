//! What is allowed where. Every exception has its reason beside it; a list of exceptions may only get shorter.

/// Which crates of the house a crate may name in its code. Anything not listed is forbidden.
pub const EDGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("llm", &["core"]),
    ("harness", &["core", "llm"]),
    ("guest", &[]),
    // The launcher speaks the guest's wire format: both ends are compiled from the one definition.
    ("sandbox", &["core", "guest"]),
    ("images", &["core"]),
    ("broker", &["core"]),
    ("store", &["core"]),
    ("platform", &["core", "llm", "harness", "sandbox", "images", "broker", "store"]),
    ("server", &["core", "platform"]),
    // The binary puts the engine together: it starts the launcher, sets up the broker and hands both to platform.
    // `livery dev fake-model` is the test kit's server under a name, and plays llm's scripts; the client reads event streams
    // with llm's reader.
    ("livery", &["core", "llm", "platform", "server", "sandbox", "images", "broker", "testkit"]),
    ("testkit", &["core", "llm"]),
    // The suite that kills the real binary: platform for the list of effects, nothing else of it.
    ("chaos", &["llm", "platform", "testkit"]),
    // The error pages are compared with the codes themselves.
    ("xtask", &["core"]),
];

/// Crates that any crate's tests may use beside those of its row in [`EDGES`].
pub const DEV_EDGES: &[&str] = &["testkit", "core", "chaos"];

/// Crates that talk to the kernel directly.
pub const UNSAFE_CRATES: &[&str] = &["sandbox", "guest"];

/// Crates from outside that belong to some rooms alone: (package, rooms, reason).
pub const CONFINED_PACKAGES: &[(&str, &[&str], &str)] = &[
    ("rusqlite", &["store"], "only the store contains SQL"),
    ("axum", &["server"], "HTTP types stay at the edge"),
    ("utoipa", &["server"], "the wire protocol is described where it is spoken"),
    // The command line may reach its operator's server over TLS.
    // The store's own connection to Postgres may be over TLS.
    ("rustls", &["broker", "livery", "store"], "what leaves, leaves through the broker"),
    ("tokio-postgres", &["store"], "only the store contains SQL"),
    ("deadpool-postgres", &["store"], "only the store contains SQL"),
    // Chrono comes with it; nothing of ours names it.
    ("chrono", &[], "one time library: jiff"),
    ("object_store", &["platform"], "where bytes live is the platform's business"),
    ("opentelemetry", &["livery"], "libraries speak `tracing`; the binary exports"),
    ("aws-lc-rs", &["broker"], "keys are made and used in the vault"),
    ("tokio-rustls", &["broker", "livery"], "what leaves, leaves through the broker"),
    ("hickory-resolver", &["broker"], "names are resolved where addresses are judged"),
    ("seccompiler", &["sandbox"], "system call filters belong to the sandbox"),
    ("chacha20poly1305", &["broker"], "secrets are sealed and opened in the vault"),
    ("clap", &["livery", "xtask", "chaos"], "command lines belong to the programs"),
    ("anyhow", &["livery", "xtask", "chaos"], "libraries have their own small error"),
    (
        "tokio",
        &["sandbox", "broker", "store", "platform", "server", "livery", "testkit", "chaos"],
        "core, llm and harness are pure, guest and xtask single-threaded",
    ),
];

/// Of those, the crates that not even a test outside their room may use.
pub const CONFINED_IN_TESTS: &[&str] = &["rusqlite", "tokio-postgres"];

/// A sequence of code tokens that may stand in some places alone.
#[derive(Debug, Clone, Copy)]
pub struct ConfinedWord {
    /// Tokens, separated by blanks.
    pub words: &'static str,
    /// Crates it belongs to.
    pub crates: &'static [&'static str],
    /// Whether tests, benches and examples may use it everywhere.
    pub tests: bool,
    /// What to do instead.
    pub instead: &'static str,
}

/// Words of code with a home.
pub const CONFINED_WORDS: &[ConfinedWord] = &[
    ConfinedWord {
        words: "unsafe",
        crates: UNSAFE_CRATES,
        tests: false,
        instead: "only sandbox and guest talk to the kernel directly",
    },
    ConfinedWord {
        words: "Command :: new",
        // The test kit starts the database server that tests run against; nothing of it runs in a product's process.
        crates: &["sandbox", "guest", "testkit", "xtask", "chaos"],
        tests: true,
        instead: "only sandbox and guest start programs",
    },
    ConfinedWord {
        words: "TcpStream :: connect",
        crates: &["broker", "testkit", "xtask", "chaos"],
        tests: true,
        instead: "dial through the broker, where the address guard is",
    },
    ConfinedWord {
        words: "TcpSocket",
        // The server listens on one; it has no other way to say how many may wait.
        crates: &["broker", "server", "testkit"],
        tests: true,
        instead: "dial through the broker, where the address guard is",
    },
    ConfinedWord {
        words: "client :: conn",
        crates: &["broker", "testkit"],
        tests: true,
        instead: "send through the broker's client",
    },
    ConfinedWord {
        words: "legacy :: Client",
        crates: &["broker", "testkit"],
        tests: true,
        instead: "send through the broker's client",
    },
    ConfinedWord {
        words: "to_socket_addrs",
        crates: &["broker"],
        tests: true,
        instead: "the broker resolves names, judges addresses and dials what it judged",
    },
    ConfinedWord {
        words: "lookup_host",
        crates: &["broker"],
        tests: true,
        instead: "the broker resolves names, judges addresses and dials what it judged",
    },
    ConfinedWord {
        words: "thread :: sleep",
        crates: &[],
        tests: true,
        instead: "sleeping is not synchronisation: wait for the thing, with a deadline",
    },
    ConfinedWord {
        words: "SystemTime :: now",
        // A bench compares an event's own moment with its receipt.
        crates: &["testkit", "chaos", "xtask"],
        tests: true,
        instead: "time is an input: recovery and replay need it; ask platform's clock",
    },
    ConfinedWord {
        words: "env :: var",
        crates: &["livery", "testkit", "xtask"],
        tests: true,
        instead: "no hidden settings: the command line reads the environment and hands values down",
    },
    ConfinedWord {
        words: "env :: var_os",
        crates: &["livery", "testkit", "xtask"],
        tests: true,
        instead: "no hidden settings: the command line reads the environment and hands values down",
    },
    ConfinedWord {
        words: "tokio :: spawn",
        crates: &["testkit", "chaos"],
        tests: true,
        instead: "a task without an owner outlives shutdown: use a tracker or a set, or keep its handle and list the file",
    },
];

/// Files that may use a confined word all the same: (path, words, reason).
pub const WORD_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("crates/livery/src/client.rs", "TcpStream :: connect", "the command line calls the platform's own API"),
    ("crates/livery/src/client.rs", "client :: conn", "the command line calls the platform's own API"),
    (
        "crates/sandbox/src/client/pool.rs",
        "tokio :: spawn",
        "holds the sandboxes weakly: it ends by itself once they are given up",
    ),
    (
        "crates/sandbox/src/launcher/setup.rs",
        "thread :: sleep",
        "waits, with a deadline, for what the kernel tells nobody about; the launcher has no runtime",
    ),
    (
        "crates/store/src/lock.rs",
        "thread :: sleep",
        "waits, with a deadline, for a lock of which the kernel tells nobody when it is free",
    ),
    (
        "crates/testkit/src/postgres.rs",
        "thread :: sleep",
        "waits, with a deadline, for processes of a killed server that are nobody's children any more",
    ),
    ("crates/platform/src/clock.rs", "SystemTime :: now", "this is the clock"),
    (
        "crates/sandbox/src/launcher/mod.rs",
        "env :: var",
        "how a launcher is told its settings by the one that starts it",
    ),
    ("crates/sandbox/build.rs", "env :: var", "how cargo tells a build script what it builds"),
    ("crates/sandbox/src/client/channel.rs", "tokio :: spawn", "the channel keeps the handles"),
    ("crates/sandbox/src/client/relay.rs", "tokio :: spawn", "a flow's end keeps the handle, and ends it when dropped"),
    ("crates/sandbox/src/client/control.rs", "tokio :: spawn", "the caller gets the handle"),
    ("crates/livery/src/engine.rs", "tokio :: spawn", "the engine keeps the handle and waits for it"),
    ("crates/livery/src/otlp.rs", "tokio :: spawn", "the engine keeps the handle and waits for it at the end"),
    ("crates/livery/src/client.rs", "tokio :: spawn", "the connection ends with the command's only request"),
];

/// Files that may hold text that looks like SQL: (path, reason).
pub const SQL_EXCEPTIONS: &[(&str, &str)] = &[
    (
        "crates/chaos/src/matrix/outside.rs",
        "a database that runs reach through a connection, which is not Livery's own",
    ),
    ("fuzz/src/tests.rs", "seeds for the wall before a database"),
    ("crates/broker/src/sql/tests.rs", "what programs of a run may say to a database of their own"),
    ("crates/broker/tests/it/postgres.rs", "a database of a run's own, and what is in it"),
    ("crates/broker/tests/it/postgres/relayed.rs", "what programs of a run say to a database of their own"),
    ("crates/broker/tests/it/postgres/walled.rs", "what programs of a run say to a database of their own"),
    ("crates/livery/tests/it/cluster/revoked.rs", "what programs of a run say to a database of their own"),
    ("crates/livery/tests/it/databases/asked.rs", "what a model says to a database of its run"),
    ("crates/livery/tests/it/databases/programs.rs", "what programs of a run say to a database of their own"),
    ("crates/livery/tests/it/databases/site.rs", "a database of a run's own, and what is in it"),
    ("crates/livery/tests/it/databases/tool.rs", "what a model says to a database of its run"),
    ("xtask/src/tidy/source.rs", "the rule's own words"),
    ("xtask/src/tidy/source/tests.rs", "the rule's own examples"),
    (
        "crates/livery/tests/it/cluster/database.rs",
        "tests of many nodes look at rows that no API shows, and move their times",
    ),
];

/// Lines from which a file is too long.
pub const FILE_LINES_MAX: usize = 500;
