use super::*;

#[test]
fn an_address_is_plain_or_refused() {
    for good in ["ada@example.com", "a.b+c@sub.example.co", "o'neil@example.org", "x@xn--bcher-kva.example"] {
        assert_eq!(good.parse::<EmailAddress>().map(|read| read.to_string()), Ok(good.to_owned()));
    }
    assert_eq!("Ada@EXAMPLE.com".parse::<EmailAddress>().map(String::from), Ok("Ada@example.com".into()));
    let long = format!("{}@example.com", "a".repeat(65));
    for bad in [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example",
        "a@b@example.com",
        "ada@example.com\r\nBcc: x@evil.com",
        "ada@example.com\n",
        " ada@example.com",
        "ada @example.com",
        "\"ada\"@example.com",
        "Ada <ada@example.com>",
        "ada@[127.0.0.1]",
        "ada@127.0.0.1",
        "ada@example.com.",
        "ada..b@example.com",
        ".ada@example.com",
        "ada@-example.com",
        "ada@exa_mple.com",
        "adä@example.com",
        "ada@exämple.com",
        "ada@example.com>",
        "<ada@example.com",
        "ada@example.com,bob@example.com",
        "ada(x)@example.com",
        "ada@example.com\0",
        long.as_str(),
    ] {
        assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_sender_may_have_a_name_that_ends_no_header() {
    let sender: Sender = "Ada Lovelace <ada@example.com>".parse().unwrap();
    assert_eq!((sender.name.as_str(), sender.address.as_str()), ("Ada Lovelace", "ada@example.com"));
    assert_eq!("ada@example.com".parse::<Sender>().unwrap().name, "");
    for bad in
        ["Ada\r\nBcc: x <ada@example.com>", "<ada@example.com>", "A \"B\" <ada@example.com>", "A <a> <ada@example.com>"]
    {
        assert!(bad.parse::<Sender>().is_err(), "{bad:?}");
    }
}

#[test]
fn recipients_are_on_the_list_and_few() {
    let address = |text: &str| text.parse::<EmailAddress>().unwrap();
    let mut server = MailServer {
        host: "mail.example.com".into(),
        port: 587,
        tls: MailTls::Starttls,
        from: "me@example.com".parse().unwrap(),
        recipients: vec!["@Example.com".parse().unwrap(), "bob@partner.example".parse().unwrap()],
        recipients_max: 2,
    };
    assert_eq!(server.permits(&[address("x@example.com"), address("BOB@partner.example")]), Ok(()));
    for outside in ["x@sub.example.com", "x@evilexample.com", "alice@partner.example", "x@example.com.evil.example"] {
        let refused = server.permits(&[address("x@example.com"), address(outside)]).unwrap_err();
        assert_eq!(refused.rule(), "recipients", "{outside}");
    }
    assert_eq!(server.permits(&[]).unwrap_err().rule(), "recipients_max");
    let three = vec![address("x@example.com"); 3];
    assert_eq!(server.permits(&three).unwrap_err().rule(), "recipients_max");
    server.recipients.clear();
    assert_eq!(server.permits(&[address("anybody@elsewhere.example")]), Ok(()));
}
