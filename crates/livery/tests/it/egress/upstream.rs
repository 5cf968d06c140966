//! A server over TLS outside of the sandbox, with a certificate that the operator trusts.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A file server over TLS that prints its port, then writes down each request with what authenticates it. With a key, which it
/// reads anew for each request, it serves nobody who does not bring it.
const UPSTREAM: &str = r#"
import hashlib, http.server, json, ssl, urllib.parse
SPELLINGS = {
    "raw": lambda key: key,
    "reversed": lambda key: key[::-1],
    "hex": lambda key: key.encode().hex(),
    "percent": lambda key: "".join("%%%02X" % byte for byte in key.encode()),
    "json": lambda key: "".join("\\u%04x" % byte for byte in key.encode()),
    "html": lambda key: "".join("&#%d;" % byte for byte in key.encode()),
    "part": lambda key: key[:24],
}
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def date_time_string(self, timestamp=None):
        return "Mon, 23 Nov 2026 08:00:00 GMT"
    def admitted(self):
        given = self.headers.get("Authorization", "-")
        print(self.command, self.path, given, file=open("../requests", "a"))
        self.key = open("../key").read()
        if not self.key or given == "Bearer " + self.key:
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
        if self.path.startswith("/spelled/"):
            return self.spell(SPELLINGS[self.path.split("/")[2]](self.key))
        super().do_GET()
    def spell(self, text):
        at = "none" if self.path.endswith("/headers") else text
        event = f"data: {{\"text\": \"<{at}>\", \"more\": \"a%20b &amp; \\n\"}}\n\n".encode()
        self.send_response(200, "OK " + self.key)
        self.send_header("Content-Type", "text/event-stream" if self.path.endswith("/events") else "text/plain")
        if at != text:
            self.send_header("X-Echo", text)
        self.send_header("ETag", hashlib.sha256(event).hexdigest())
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # In chunks whose sizes go with the length of the key, as if it stood at their ends.
        pieces = [event[:len(text)], event[len(text):]] * 200
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
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
        if self.path not in ("/v1/chat/completions", "/v1/customers"):
            return self.answer(200, hashlib.sha256(body).hexdigest().encode(), "text/plain")
        if self.path == "/v1/customers":
            email = urllib.parse.parse_qs(body.decode())["email"][0]
            return self.answer(200, json.dumps({"id": "cus_1", "object": "customer", "email": email}).encode())
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
"#;

/// How each of them listens.
const LISTEN: &str = r#"
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("../leaf.pem", "../leaf.key")
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A store of objects that serves nobody whose request is not signed by its key (`ID SECRET`), as Signature Version 4 says it for S3.
/// It writes down whether each is.
pub(super) const SIGNED: &str = r#"
import datetime, hashlib, hmac, http.server, ssl, urllib.parse
ID, SECRET = open("../key").read().split()
SCOPE = ["eu-central-1", "s3", "aws4_request"]
OBJECTS = {}
def fault(method, target, headers, body):
    algorithm, _, rest = headers["Authorization"].partition(" ")
    fields = dict(field.strip().split("=", 1) for field in rest.split(","))
    stamp, names = headers["X-Amz-Date"], fields["SignedHeaders"].split(";")
    if algorithm != "AWS4-HMAC-SHA256" or fields["Credential"].split("/") != [ID, stamp[:8], *SCOPE]:
        return "of another scope"
    age = datetime.datetime.utcnow() - datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
    if abs(age.total_seconds()) > 300:
        return "at another time"
    if names != sorted(names) or not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
        return "over too little"
    if any(name.lower().startswith("x-amz-") and name.lower() not in names for name in headers):
        return "with headers beside it"
    digest = hashlib.sha256(body).hexdigest()
    if headers["X-Amz-Content-Sha256"] != digest:
        return "of another body"
    path, _, query = target.partition("?")
    same = lambda text: urllib.parse.quote(urllib.parse.unquote_plus(text), safe="-_.~")
    pairs = sorted(tuple(map(same, pair.partition("=")[::2])) for pair in query.split("&") if pair)
    lines = [method, path, "&".join("=".join(pair) for pair in pairs)]
    lines += [name + ":" + " ".join(headers[name].split()) for name in names] + ["", ";".join(names), digest]
    text = "\n".join([algorithm, stamp, "/".join([stamp[:8], *SCOPE]), hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    key = ("AWS4" + SECRET).encode()
    for part in [stamp[:8], *SCOPE, text]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return None if hmac.compare_digest(key.hex(), fields["Signature"]) else "by nobody"
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            wrong = fault(self.command, self.path, self.headers, body)
        except Exception as error:
            wrong = "unreadably " + repr(error)
        print(self.command, self.path, wrong or "signed", file=open("../requests", "a"))
        path, _, query = self.path.partition("?")
        if wrong:
            return self.answer(403)
        if path == "/packages.tgz":
            return self.answer(200, open("packages.tgz", "rb").read())
        if self.command == "PUT":
            OBJECTS[urllib.parse.unquote(path)] = body
        elif self.command == "DELETE":
            OBJECTS.pop(urllib.parse.unquote(path), None)
            return self.answer(204)
        elif "list-type=2" in query:
            keys = "".join("<Contents><Key>" + urllib.parse.quote(name.removeprefix("/orders/")) + "</Key></Contents>" for name in OBJECTS)
            return self.answer(200, ("<ListBucketResult><EncodingType>url</EncodingType>" + keys + "</ListBucketResult>").encode())
        else:
            return self.answer(200, OBJECTS[urllib.parse.unquote(path)])
        self.answer(200)
    do_GET = do_PUT = do_DELETE = handle_any
"#;

/// The upstream, its files and its authority. Dropped, it is killed.
pub(crate) struct Upstream {
    child: Child,
    pub(crate) port: u16,
    pub(crate) home: tempfile::TempDir,
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
        Self::running(UPSTREAM, key)
    }

    /// The same with another server.
    pub(crate) fn running(program: &str, key: &str) -> Self {
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
        std::fs::write(home.path().join("key"), key).unwrap();
        command.arg("-c").arg(format!("{program}{LISTEN}")).current_dir(&files);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap(), home }
    }

    /// From now on takes this key alone.
    pub(super) fn rekey(&self, key: &str) {
        std::fs::write(self.home.path().join("key"), key).unwrap();
    }

    /// A line for each request: method, path, authorization.
    pub(crate) fn requests(&self) -> String {
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
