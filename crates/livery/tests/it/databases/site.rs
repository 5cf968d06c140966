//! A database server with TLS and a user whose password is known to nobody but the connection, and a Livery that has it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use livery_testkit::postgres::{Error, Options, Postgres};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::support::{Server, skip};

/// The user's password.
pub(super) const PASSWORD: &str = "pw-n0t-in-the-sandbox-4fGh7Kq2Zx9";

pub(super) struct Site {
    pub(super) postgres: Postgres,
    pub(super) server: Server,
    _home: tempfile::TempDir,
}

impl Site {
    /// `None`, said aloud, where there is no PostgreSQL.
    pub(super) fn new(flags: &[&str]) -> Option<Self> {
        let postgres = match Postgres::start_with(Options { fsync: false, max_connections: 50 }) {
            Ok(postgres) => postgres,
            Err(Error::NotInstalled) => {
                skip("there is no PostgreSQL server");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let (mut postgres, home) = (postgres, tempfile::tempdir().unwrap());
        let root = home.path().join("root.pem");
        encrypt(&mut postgres, &root);
        postgres.create_database("shop").unwrap();
        for statement in [
            &format!("create role app login password '{PASSWORD}'"),
            "create role auditor",
            "grant auditor to app",
            "create table users (id int primary key, name text, born date, note jsonb)",
            "insert into users values (1, 'Ada', '1815-12-10', '{\"a\": 1}'), (2, 'Grace', null, null)",
            "create table secrets (id int, value text)",
            &format!("insert into secrets values (1, '{PASSWORD}')"),
            "grant all on users, secrets to app",
            "grant select on users to auditor",
            "grant create on schema public to app",
            "create table orders (id int)",
            "alter table orders owner to app",
        ] {
            postgres.sql("shop", statement).unwrap();
        }
        let mut all = vec!["--allow-upstream", "127.0.0.0/8", "--upstream-ca", root.to_str().unwrap()];
        all.extend(flags);
        let server = Server::start(&all);
        Some(Self { postgres, server, _home: home })
    }

    pub(super) fn port(&self) -> u16 {
        let url = self.postgres.tcp_url("shop");
        url.split(':').nth(3).unwrap().split('/').next().unwrap().parse().unwrap()
    }

    /// A connection to the database; its id.
    pub(super) fn connect(&self, name: &str, more: &Value) -> String {
        let mut settings = json!({"host": "db.localhost", "port": self.port(), "database": "shop"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let credential = json!({"username": "app", "password": PASSWORD});
        let body = json!({"name": name, "connector": "postgres", "settings": settings, "credential": credential});
        let (status, view) = self.server.post("/v1/connections", &body);
        assert_eq!(status, 201, "{view}");
        view["id"].as_str().unwrap().to_owned()
    }

    /// How often the users' table is there: a wall that has held.
    pub(super) fn users(&self) -> String {
        self.postgres.sql("shop", "select count(*) from users").unwrap()
    }
}

/// TLS with a certificate for `db.localhost` alone, of a root that the operator trusts.
fn encrypt(postgres: &mut Postgres, root: &std::path::Path) {
    let (root_key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(root, params.self_signed(&root_key).unwrap().pem()).unwrap();
    let leaf = CertificateParams::new(vec!["db.localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(params, root_key)).unwrap();
    let data = postgres.data_dir();
    let owner = std::fs::metadata(&data).unwrap();
    for (name, text) in [("server.crt", leaf.pem()), ("server.key", leaf_key.serialize_pem())] {
        let path = data.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    postgres.sql("postgres", "alter system set ssl = on").unwrap();
    postgres.restart().unwrap();
}

/// The password, or half of it, is not in here.
pub(super) fn assert_absent(text: &str) {
    for needle in [&PASSWORD[..16], &PASSWORD[PASSWORD.len() - 16..]] {
        assert!(!text.contains(needle), "{needle} is in {text}");
    }
}
