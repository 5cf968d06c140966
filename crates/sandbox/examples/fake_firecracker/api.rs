//! The part of Firecracker's API that snapshots need: method, path, headers and bodies as its OpenAPI description has them.
//!
//! One request on each connection, in the order in which they make sense; anything else is answered with 400 and a fault's message.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::config::{self, CREATE, LOAD, MEMORY, STATE};
use crate::json::Json;
use crate::machine::Memory;

/// The longest request.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Serves a machine that runs, until somebody ends this process.
pub(crate) fn serve(listener: &UnixListener, whole: &str, memory: &Memory) -> Result<(), String> {
    let mut is_paused = false;
    loop {
        answer(listener, |request| match (request.method.as_str(), request.path.as_str()) {
            ("PATCH", "/vm") => {
                config::check("vm", &request.body, STATE)?;
                is_paused = request.body.text("state") == "Paused";
                Ok(())
            }
            ("PUT", "/snapshot/create") => {
                config::check("snapshot", &request.body, CREATE)?;
                memory.refuses("no-snapshot")?;
                if !is_paused {
                    return Err("Create snapshot error: Cannot create a snapshot of a running microVM".to_owned());
                }
                let write = |name: &str, bytes: &[u8]| {
                    fs::write(request.body.text(name), bytes).map_err(|error| format!("Create snapshot error: {error}"))
                };
                write("snapshot_path", whole.as_bytes())?;
                write("mem_file_path", &memory.encode())
            }
            (method, path) => Err(format!("Invalid request method and/or path: {method} {path}.")),
        })?;
    }
}

/// Serves a process without a machine until it has one; the snapshot's configuration and memory.
pub(crate) fn load(listener: &UnixListener) -> Result<(Json, Memory), String> {
    let mut loaded = None;
    while loaded.is_none() {
        answer(listener, |request| {
            if (request.method.as_str(), request.path.as_str()) != ("PUT", "/snapshot/load") {
                return Err("The requested operation is not supported before starting the microVM.".to_owned());
            }
            let (mut own, mut backend) = (request.body.clone(), None);
            if let Json::Map(members) = &mut own {
                let at = members.iter().position(|(name, _)| name == "mem_backend");
                backend = at.map(|at| members.remove(at).1);
            }
            config::check("snapshot", &own, LOAD)?;
            let backend = backend.ok_or("missing field: either `mem_backend` or `mem_file_path` is required")?;
            config::check("mem_backend", &backend, MEMORY)?;
            let read = |path: &str| fs::read(path).map_err(|error| format!("Load snapshot error: {path}: {error}"));
            let whole = String::from_utf8(read(own.text("snapshot_path"))?).map_err(|error| error.to_string())?;
            let memory = Memory::decode(&read(backend.text("backend_path"))?).ok_or("Load snapshot error: memory")?;
            if own.member("resume_vm") != Some(&Json::Bool(true)) {
                return Err("this stand-in's machines are resumed at once".to_owned());
            }
            memory.refuses("no-restore")?;
            loaded = Some((config::read(&whole)?, memory));
            Ok(())
        })?;
    }
    loaded.ok_or_else(|| "no snapshot".to_owned())
}

struct Request {
    method: String,
    path: String,
    body: Json,
}

/// Takes one connection and its one request. What is done is answered with 204, what is refused with 400.
fn answer(listener: &UnixListener, act: impl FnOnce(Request) -> Result<(), String>) -> Result<(), String> {
    let (mut stream, _) = listener.accept().map_err(|error| error.to_string())?;
    let text = match Request::read(&mut stream).and_then(act) {
        Ok(()) => "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n".to_owned(),
        Err(fault) => {
            let body = format!("{{\"fault_message\":{:?}}}", fault.replace(['"', '\\'], "'"));
            let head = "HTTP/1.1 400 \r\nServer: Firecracker API\r\nContent-Type: application/json";
            format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
    };
    // Whoever does not wait for the answer is no concern of a server's.
    let _ = stream.write_all(text.as_bytes());
    Ok(())
}

impl Request {
    fn read(stream: &mut UnixStream) -> Result<Self, String> {
        let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
        loop {
            if let Some(request) = Self::parse(&heard)? {
                return Ok(request);
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Err("the request ends early".to_owned()),
                Ok(count) => heard.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
            if heard.len() > REQUEST_BYTES_MAX {
                return Err("the request is too long".to_owned());
            }
        }
    }

    fn parse(heard: &[u8]) -> Result<Option<Self>, String> {
        let Some(end) = heard.windows(4).position(|part| part == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&heard[..end]).map_err(|error| error.to_string())?;
        let mut lines = head.split("\r\n");
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, path, "HTTP/1.1"] = words[..] else { return Err(format!("no request line: {words:?}")) };
        let field = |wanted: &str| {
            let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        if field("Content-Type") != Some("application/json") {
            return Err("the body is no application/json".to_owned());
        }
        let length: usize = field("Content-Length").and_then(|text| text.parse().ok()).ok_or("no Content-Length")?;
        let Some(body) = heard.get(end + 4..end + 4 + length) else { return Ok(None) };
        let body = Json::parse(std::str::from_utf8(body).map_err(|error| error.to_string())?)?;
        Ok(Some(Self { method: method.to_owned(), path: path.to_owned(), body }))
    }
}
