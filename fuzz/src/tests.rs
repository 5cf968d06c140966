//! A walk without libFuzzer, for the stable compiler: seeds that are nearly right, changed a little, many times. It finds less
//! than a fuzzer does and runs anywhere. The order is fixed, so a failure repeats.

/// Changed inputs per seed.
const ROUNDS: u32 = 3_000;

/// A small generator with a fixed start: the same walk every time.
struct Walk(u64);

impl Walk {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A few bytes replaced, removed, doubled or moved.
    fn change(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.insert(at, [0, 0xff, 0xfe, b'\n', b'"', b'{', b':', b'/', b'%'][self.below(9)]),
                3 => bytes.truncate(at),
                _ => {
                    let end = (at + self.below(40)).min(bytes.len());
                    let piece = bytes[at.min(end)..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
            }
        }
        bytes
    }
}

fn walk(property: fn(&[u8]), seeds: &[&[u8]]) {
    let mut walk = Walk(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        property(seed);
        for _ in 0..ROUNDS {
            property(&walk.change(seed));
        }
    }
}

#[test]
fn http_framing() {
    walk(
        crate::http_framing::http_framing,
        &[
            b"\x80POST http://api.example/a HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\n\r\nhelloGET http://api.example/b?c=d HTTP/1.1\r\nHost: api.example\r\n\r\n",
            b"\x20POST http://api.example/x HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nGET http://api.example/y HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n",
            b"\xe0PUT http://api.example/x HTTP/1.1\nHost: api.example\nContent-Length: 2\nTransfer-Encoding: chunked\n\n0\n\nGET http://api.example/z HTTP/1.0\nHost: api.example\n\n",
        ],
    );
}

#[test]
fn monitor_answer() {
    walk(
        crate::monitor_answer,
        &[
            b"\x80HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\nHTTP/1.1 200 \r\n\r\n",
            b"\xc0HTTP/1.1 400 \r\ncontent-length: 40\r\n\r\n{\"fault_message\":\"no \\u001b[2J such file\"}",
        ],
    );
}

#[test]
fn sql() {
    walk(
        crate::sql,
        &[
            b"select a, 'it''s', e'\\'', $x$ ; $x$, \"b\" from t where c = $1 -- x\n; values (1e-3)",
            b"with a as (select 1) /* b /* c */ */ select * from a; begin; set application_name = 'x'; commit",
            b"explain (analyze, format json) select u&\"d\\0061t\\+000061\", 1.5::numeric",
        ],
    );
}

#[test]
fn postgres_answer() {
    let password = "not-in-the-sandbox-4fGh7Kq2Zx9".len() as u8;
    let own = |tag: u8, before: &[u8], after: &[u8]| {
        let length = 4 + before.len() as u8 + password + after.len() as u8;
        let head = [&[tag, 0, 0, 0, length][..], before].concat();
        // The first byte says where the rest is cut.
        let at = (head.len() * 255).div_ceil(head.len() + after.len());
        [&[u8::try_from(at).unwrap()][..], &head, after].concat()
    };
    walk(
        crate::postgres_answer,
        &[
            &own(b'D', &[0, 1, 0, 0, 0, password], b""),
            &own(b'E', b"SERROR\0C42P01\0Mno ", b" here\0\0"),
            &own(b'd', b"1\t", b"\n"),
            &own(b'C', b"SELECT ", b"\0"),
        ],
    );
}

#[test]
fn postgres_message() {
    let mut seed = vec![40];
    seed.extend(b"Q\0\0\0\x0dselect 1\0P\0\0\0\x12s\0select $1\0\0\0B\0\0\0\x13p\0s\0\0\0\0\x01\0\0\0\x01x\0\0");
    seed.extend(b"D\0\0\0\x07Pp\0E\0\0\0\x0ap\0\0\0\0\0C\0\0\0\x07Ss\0H\0\0\0\x04S\0\0\0\x04d\0\0\0\x051c\0\0\0\x04X\0\0\0\x04");
    let mut frames = livery_broker::postgres::Frames::of_client();
    frames.push(&seed[1..]);
    let mut count = 0;
    while let Some(frame) = frames.take().unwrap() {
        livery_broker::postgres::FromClient::read(&frame).unwrap();
        count += 1;
    }
    assert_eq!(count, 11);
    walk(crate::postgres_message, &[&seed]);
}

#[test]
fn client_hello() {
    let mut seed = vec![22, 3, 1, 0, 59, 1, 0, 0, 55, 3, 3];
    seed.extend([7; 32]);
    seed.extend([0, 0, 2, 0x13, 1, 1, 0, 0, 12, 0, 0, 0, 8, 0, 6, 0, 0, 3, b'a', b'.', b'b']);
    assert_eq!(livery_broker::proxy::hello::server_name(&seed), Ok(Some("a.b".to_owned())));
    walk(crate::client_hello, &[&seed]);
}

#[test]
fn mail_reply() {
    walk(crate::mail_reply, &[b"\x60250-fake\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 1000\r\n221 bye\r\n", b"\x10235 ok\r\n"]);
}

#[test]
fn placeholder() {
    let plain: &[u8] = b"\x80Bearer lvp_0123456789ABCDEFGHIJKLMNOPQRSTUV and more";
    let basic: &[u8] = b"\x40Basic dXNlcjpsdnBfMDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVY=";
    assert_eq!(livery_broker::proxy::placeholder::Finder::all_in(basic).len(), 1);
    walk(crate::placeholder, &[plain, basic]);
}

#[test]
fn websocket() {
    let program: &[u8] = b"\x80\x01\x83\x01\x02\x03\x04Igo\x89\x80\x05\x06\x07\x08\x80\x82\x09\x0a\x0b\x0cee\x88\x82\x00\x00\x00\x00\x03\xe8";
    let upstream: &[u8] = b"\x40\x81\x05Hello\x02\x7e\x00\x7f\x8a\x01p\x80\x00\x88\x05\x0f\xa1bye";
    walk(crate::websocket, &[program, upstream, b"\x80\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"]);
}

#[test]
fn graphql() {
    let whole = br#"query Q($a: [T!] = {b: "c"}) @d { a: b(c: "}") { e } ...F } fragment F on T { g } subscription { h } # i"#;
    let block = br#"mutation { a(b: """ { c } """, d: -1.5e3) ... @e { f } }"#;
    assert_eq!(livery_broker::policy::graphql::operations(std::str::from_utf8(whole).unwrap()).unwrap().len(), 2);
    walk(crate::graphql, &[whole, block]);
}

#[test]
fn grpc_message() {
    let mut seed = b"\x60\0\0\0\0\x05Hello\0\0\0\0\0".to_vec();
    // `a` a hundred times in gzip: small to large.
    let small = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03KL\xa4=\0\0dzp\xafd\0\0\0";
    seed.extend([1, 0, 0, 0, small.len() as u8]);
    seed.extend_from_slice(small);
    let mut inlet = livery_broker::grpc::Inlet::in_coding("gzip");
    inlet.push(&seed[1..]);
    let mut said = Vec::new();
    while let Some(message) = inlet.take().unwrap() {
        said.push(inlet.said(&message).unwrap().len());
    }
    assert_eq!(said, [5, 0, 100]);
    walk(crate::grpc_message, &[&seed, b"\x20\0\0\x40\0\0x\x02\0\0\0\0", b"\x80\x01\0\0\0\x03abc\0\0\0\0\x01d"]);
}

#[test]
fn graphql_request() {
    walk(
        crate::graphql_request,
        &[
            br#"{"query": "query Q { viewer { id } } mutation { add(x: \"}\") }", "operationName": "Q", "variables": {"a": [1]}}"#,
            br#"[{"query": "{ a: viewer __typename ...F } fragment F on Q { viewer }", "extensions": {}}, {"query": "{viewer}"}]"#,
        ],
    );
}

#[test]
fn flow_ledger() {
    use livery_guest::wire::flow::Grant;
    use livery_guest::wire::{Kind, encode};
    let mut polite = Vec::new();
    encode(&mut polite, Kind::FlowOpened, 1, b"");
    encode(&mut polite, Kind::FlowRead, 1, b"GET / HTTP/1.1");
    encode(&mut polite, Kind::Stdout, 1, b"the host sends");
    encode(&mut polite, Kind::FlowGranted, 1, &Grant { bytes: 7 }.encode());
    encode(&mut polite, Kind::FlowReadEnd, 1, b"");
    encode(&mut polite, Kind::Stdout, 1, b"");
    encode(&mut polite, Kind::FlowClosed, 1, b"");
    let mut crowd = Vec::new();
    for number in 1..=33 {
        encode(&mut crowd, Kind::FlowOpened, number, b"");
    }
    walk(crate::flow_ledger, &[&polite, &crowd]);
}

#[test]
fn terminal_text() {
    walk(
        crate::terminal_text,
        &[
            b"\x60\x1b[?1049h\x1b[2J\x1b[38;5;2mgr\xc3\xbcn\x1b[0m\r\n10%\r20%\x1b(B\x1b7\x1b[2 q",
            b"\x90a\x1b]52;c;c3RvbGVu\x07b\x1bP$qm\x1b\\c\x1b[6n\xc2\x9b6n\x05\x1b[5i\x1b[?1000h",
        ],
    );
}

#[test]
fn terminal_ledger() {
    use livery_guest::wire::message::Outcome;
    use livery_guest::wire::flow::Grant;
    use livery_guest::wire::terminal::Output;
    use livery_guest::wire::{Kind, encode};
    let output = |ticket, start, ended, bytes| Output { ticket, start, ended, bytes }.encode();
    let mut polite = Vec::new();
    encode(&mut polite, Kind::Stdout, 1, b"the host asks and types");
    encode(&mut polite, Kind::TerminalOutput, 1, &output(1, 0, None, b"$ "));
    encode(&mut polite, Kind::TerminalGranted, 1, &Grant { bytes: 7 }.encode());
    encode(&mut polite, Kind::Stdout, 1, b"again");
    encode(&mut polite, Kind::Stdout, 1, b"and again");
    encode(&mut polite, Kind::TerminalOutput, 1, &output(2, 2, None, b"lost"));
    encode(&mut polite, Kind::TerminalOutput, 1, &output(3, 900, Some(Outcome::Code(3)), b"bye"));
    walk(crate::terminal_ledger, &[&polite]);
}

#[test]
fn guest_wire() {
    use livery_guest::wire::terminal::{Open, Output, Read, Size};
    use livery_guest::wire::{Kind, encode};
    let open = Open { argv: vec![b"sh".to_vec()], env: vec![], cwd: b"/workspace".to_vec(), size: Size::default(), plain: false };
    let mut terminals = vec![30];
    encode(&mut terminals, Kind::TerminalOpen, 3, &open.encode().unwrap());
    encode(&mut terminals, Kind::TerminalResize, 3, &Size { rows: 40, columns: 120 }.encode());
    encode(&mut terminals, Kind::TerminalRead, 3, &Read { ticket: 1, offset: 9, limit: 100 }.encode());
    let mut shown = vec![90];
    encode(&mut shown, Kind::TerminalOutput, 3, &Output { ticket: 1, start: 9, ended: None, bytes: b"$ " }.encode());
    encode(&mut shown, Kind::Running, 4, &[1, 0, 0, 0, 9, 0, 0, 0]);
    let mut frames = vec![100];
    encode(&mut frames, Kind::Stdout, 3, b"hello");
    encode(&mut frames, Kind::Stderr, 3, b"");
    let mut commands = vec![10];
    encode(&mut commands, Kind::StdinEnd, 1, b"");
    walk(crate::guest_wire, &[&frames, &commands, &terminals, &shown, b"\x40\x05\0\0\0\x01\0\0\0\x41\0\0\0hello"]);
}

#[test]
fn model_stream() {
    let chat = b"\x80data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"h\xc3\xa9\"}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"shell\",\"arguments\":\"{\\\"a\\\":\"}}]}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
    let anthropic = b"\x60event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":3}}}\n\n\
        event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n\
        event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    walk(crate::model_stream, &[chat, anthropic, b"\x20{\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}"]);
}

/// A run without a tool, as it is exported.
#[test]
fn bundle() {
    use livery_core::agent::{Agent, Prompt, text_output};
    use livery_core::id::RunId;
    use livery_core::{RunStatus, canonical};
    use livery_harness::replay::bundle::Bundle;
    use livery_harness::replay::Logged;
    use livery_harness::{Input, Loop, Setup, State};
    let agent = Agent {
        name: "clerk".into(),
        model: vec!["acme/large".parse().unwrap()],
        input: serde_json::json!({"type": "object"}),
        output: text_output(),
        prompt: Prompt::parse("Count the files of {{input.month}}.").unwrap(),
        ..Agent::default()
    };
    let setup = Setup::new(agent, serde_json::json!({"month": "2026-10"}));
    let rules = Loop::new(setup.clone()).unwrap();
    let (mut state, mut events) = (State::new(), Vec::new());
    for input in [Input::Start, Input::Cancel { reason: None }] {
        for record in rules.decide(&state, input).records {
            state.apply(&record);
            let data = record.data_json();
            let digest = Some(canonical::sha256_hex(&data));
            let event_type = record.event_type().to_string();
            events.push(Logged { seq: events.len() as u64 + 1, event_type, digest, data: Some(data) });
        }
    }
    let whole = Bundle { run: RunId::from_bits(1), status: RunStatus::Cancelled, setup, events };
    walk(crate::bundle, &[whole.text().as_bytes(), b"{\"livery_bundle\":1}\n"]);
}

#[test]
fn agent_md() {
    let agent = b"---\nname: hello\nmodel: scripted/x\ntools: [shell]\ninput:\n  type: object\n  properties: {month: {type: string, pattern: \"^[0-9]{4}$\"}}\n\
        limits: {timeout_s: 60}\nsandbox: {tier: container, memory_mb: 64}\n---\nGreet {{input.month}}.\n";
    walk(crate::agent_md, &[agent]);
}

/// A header with a right sum, and what follows it.
fn tar_entry(kind: u8, path: &[u8], content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..path.len()].copy_from_slice(path);
    block[100..107].copy_from_slice(b"0000755");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = kind;
    block[157..160].copy_from_slice(if matches!(kind, b'1' | b'2') { b"a/b" } else { b"\0\0\0" });
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

#[test]
fn image_layer() {
    let parts = [
        tar_entry(b'5', b"./a/", b""),
        tar_entry(b'0', b"a/b", b"some content"),
        tar_entry(b'x', b"p", b"19 path=long/name/x\n11 size=1\n\n"),
        tar_entry(b'L', b"l", b"another/long/name\0"),
        tar_entry(b'1', b"c", b""),
        tar_entry(b'2', b"d", b""),
        tar_entry(b'0', b"a/.wh.b", b""),
        tar_entry(b'0', b"a/.wh..wh..opq", b""),
    ];
    let whole = [&parts[0], &parts[1], &parts[4], &parts[5], &parts[6], &parts[7]].map(Vec::as_slice).concat();
    assert_eq!(livery_images::layer::Tar::new(whole.as_slice(), 99).next_entry().unwrap().unwrap().path, b"a");
    let named = [&parts[3], &parts[1]].map(Vec::as_slice).concat();
    let extended = [&parts[2], &parts[1]].map(Vec::as_slice).concat();
    walk(crate::image::image_layer, &[&whole, &named, &extended]);
}

#[test]
fn image_manifest() {
    let digest = "a".repeat(64);
    let one = format!(r#"{{"digest":"sha256:{digest}","size":3,"platform":{{"os":"linux","architecture":"amd64"}}}}"#);
    let manifest = format!(r#"{{"schemaVersion":2,"config":{one},"layers":[{one},{one}]}}"#);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{one}]}}"#);
    let config = format!(r#"{{"os":"linux","architecture":"amd64","config":{{"Env":["PATH=/bin","HOME=/x"]}},"rootfs":{{"diff_ids":["sha256:{digest}"]}}}}"#);
    let saved = br#"[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"]}]"#;
    walk(crate::image::image_manifest, &[manifest.as_bytes(), index.as_bytes(), config.as_bytes(), saved]);
}

#[test]
fn receipt() {
    let receipt = br#"{"receipt":{"agent":{"name":"a","sha256":"","version":null},"application":null,"cost":{"pricing":"free","usd":"0.00"},"created_at":"2026-10-01T12:00:00.000001Z","end_user":null,"error":null,"finished_at":"2026-10-01T12:00:00.000001Z","input_sha256":"","livery":"0.1.0","log":{"events":1,"head":"","mark_every":1,"marks":["",""],"scheme":"livery-log-1"},"model":"m/m","organization":"org_00000000000000000000000001","output_sha256":null,"policy":{"note":"","sha256":""},"run":"run_00000000000000000000000001","sandbox":{"tier":"container"},"started_at":null,"status":"succeeded","usage":{"cached_input_tokens":0,"input_tokens":0,"output_tokens":0,"sandbox_ms":0,"tool_calls":0,"turns":0},"version":1},"signature":{"algorithm":"ed25519","key_id":"rk_1","value":"AA=="}}"#;
    assert!(livery_core::receipt::Receipt::parse(std::str::from_utf8(receipt).unwrap()).is_ok());
    let page = br#"{"data":[{"seq":1,"run_id":"run_00000000000000000000000001","type":"run.queued","at":"t","actor":"w","digest":"d","data":{"a":1}}],"next_after":null,"last_seq":1}"#;
    let line = br#"{"seq":1,"run_id":"run_00000000000000000000000001","type":"run.queued","at":"t","actor":"w","digest":"d","data":null}"#;
    walk(crate::receipt, &[receipt, page, line]);
}

#[test]
fn script_yaml() {
    let script = b"turns:\n  - text: \"Looking.\"\n    tools: [{name: shell, arguments: {command: \"wc -l *\"}}]\n  - expect: {tool_result_contains: \"x\"}\n    tools: [{name: finish, arguments: {text: done}}]\n";
    walk(crate::script_yaml, &[script]);
}

#[test]
fn upstream_url() {
    walk(
        crate::upstream_url,
        &[
            b"\x90https://user@api.example.com:8443/v1/%2e%2e/x?q=1/chat/completions",
            b"\x60http://[::ffff:127.0.0.1]/v1/../messages?x=y",
            b"\x90https://EXAMPLE.com./a/./b//c/%2F/v1/messages",
        ],
    );
}

#[test]
fn egress_request() {
    walk(
        crate::egress_request,
        &[
            b"\xa0/charges/%2e%2e/x?expand[]=a&b=%20value & more",
            b"\x80/a/./b/../c;d//e?q=1&q=2p=1&_method=DELETE",
            b"\x60//evil.com@x/%2Fa%00?\\#\r\nhost: evil",
        ],
    );
}

#[test]
fn scrubber() {
    walk(
        crate::scrubber,
        &[b"\x40key: \xff and \xfe\n\ndata: \xfd\r\n\r\nrest \xfc", b"\x80data: {\"k\":\"\xff\"}\n\ndata: \xfe\ndata: \xfd\n\n", b"\x10plain text without anything"],
    );
}

#[test]
fn trigger_message() {
    walk(
        crate::trigger_message,
        &[
            b"\x80{\"a\":\"{{body.x}} {{query.a | 3}}\"}{\"x\":[1,2,{\"y\":\"z\"}],\"k\":null}",
            b"\x60{\"body.a\":[\"1\",2]}a=1&b=%20+x&payload=%7B%7D&a=2",
            b"\x70[\"{{body}}\",\"-{{headers.a}}-\",5]{\"a\":{\"b\":[[[]]]}}",
        ],
    );
}
