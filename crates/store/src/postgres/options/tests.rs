use super::{PostgresOptions, Tls};

const SECRET: &str = "hunter2";

#[test]
fn an_address_is_read_and_its_password_is_never_shown() {
    let url = format!("postgres://ada:{SECRET}@db.example:5433/livery?sslmode=verify-full&application_name=one");
    let options = PostgresOptions::from_url(&url).unwrap();
    assert_eq!(options.to_string(), "postgres://db.example:5433/livery");
    assert_eq!(options.tls_mode(), Tls::Verify);
    assert_eq!(options.config().get_password(), Some(SECRET.as_bytes()));
    assert_eq!(options.config().get_application_name(), Some("one"));
    for shown in [format!("{options:?}"), format!("{:?}", options.config())] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[test]
fn a_socket_folder_is_a_host_and_needs_no_encryption() {
    let options = PostgresOptions::from_url("postgres://ada@/livery?host=/run/postgresql&sslmode=require").unwrap();
    assert_eq!(options.to_string(), "postgres:///run/postgresql:5432/livery");
    assert_eq!(options.tls_mode(), Tls::Disable);
}

#[test]
fn what_is_no_address_is_refused_without_repeating_it() {
    for url in [
        format!("mysql://ada:{SECRET}@db/livery"),
        format!("postgres://ada:{SECRET}@db/livery?sslmode=verify-ca"),
        format!("postgres://ada:{SECRET}@db/livery?{SECRET}=1"),
        format!("postgres://ada:{SECRET}@db:port/livery"),
        format!("postgres://ada:{SECRET}@db"),
        format!("postgres://ada:{SECRET}@/livery"),
        format!("postgres://ada:x?{SECRET}@db"),
        String::new(),
    ] {
        let error = PostgresOptions::from_url(&url).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains("postgres://USER"), "{shown}");
    }
}
