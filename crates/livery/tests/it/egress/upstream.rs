//! A server over TLS outside of the sandbox, with a certificate that the operator trusts.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A file server over TLS that prints its port, then writes down each request with what authenticates it. With a key, it
/// serves nobody who does not bring it.
const UPSTREAM: &str = r#"
import hashlib, http.server, json, os, ssl
KEY = os.environ["UPSTREAM_KEY"]
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def admitted(self):
        given = self.headers.get("Authorization", "-")
        print(self.command, self.path, given, file=open("../requests", "a"))
        if not KEY or given == "Bearer " + KEY:
            return True
        self.answer(401, b"no key")
    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if not self.admitted():
            return
        if self.path == "/echo":
            return self.answer(200, json.dumps(dict(self.headers)).encode())
        super().do_GET()
    def body(self):
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole
    def do_POST(self):
        body = self.body()
        if not self.admitted():
            return
        if self.path != "/v1/chat/completions":
            return self.answer(200, hashlib.sha256(body).hexdigest().encode(), "text/plain")
        asked = json.loads(body)
        one = {"id": "c1", "created": 1, "model": asked["model"]}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "hello from a model"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return self.answer(200, json.dumps(dict(one, object="chat.completion", choices=[choice])).encode())
        text = ""
        for word in ["a ", "streamed ", "answer"]:
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            text += "data: " + json.dumps(dict(one, object="chat.completion.chunk", choices=[choice])) + "\n\n"
        self.answer(200, (text + "data: [DONE]\n\n").encode(), "text/event-stream")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("../leaf.pem", "../leaf.key")
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// The upstream, its files and its authority. Dropped, it is killed.
pub(super) struct Upstream {
    child: Child,
    pub(super) port: u16,
    pub(super) home: tempfile::TempDir,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Upstream {
    /// Takes this key alone; an empty one: everybody.
    pub(super) fn start(key: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        certificates(home.path());
        let files = home.path().join("files");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("hello.txt"), "hello from outside\n").unwrap();
        std::fs::write(home.path().join("requests"), "").unwrap();
        let make = "git init -q work && cd work && echo cloned > file && git add file && \
            git -c user.name=a -c user.email=a@example.com commit -qm one && cd .. && \
            git clone -q --bare work repo.git && git -C repo.git update-server-info && rm -rf work";
        let path = "/usr/bin:/bin";
        let made = Command::new("sh").args(["-c", make]).current_dir(&files).env("PATH", path).status().unwrap();
        assert!(made.success());
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", UPSTREAM]).current_dir(&files).env("UPSTREAM_KEY", key);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap(), home }
    }

    /// A line for each request: method, path, authorization.
    pub(super) fn requests(&self) -> String {
        std::fs::read_to_string(self.home.path().join("requests")).unwrap()
    }
}

/// An authority the operator trusts (`root.pem`), and what it says about `api.localhost` (`leaf.pem`, `leaf.key`).
pub(crate) fn certificates(home: &Path) {
    let (root_key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(home.join("root.pem"), params.self_signed(&root_key).unwrap().pem()).unwrap();
    let leaf = CertificateParams::new(vec!["api.localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(params, root_key)).unwrap();
    std::fs::write(home.join("leaf.pem"), leaf.pem()).unwrap();
    std::fs::write(home.join("leaf.key"), leaf_key.serialize_pem()).unwrap();
}
