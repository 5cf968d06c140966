//! How the S3 client speaks HTTP: through the broker's client for the operator's own origin. What comes back is bounded, and
//! an answer that is no success becomes a [`Reply`] here, so that no text of the server's gets into an error.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use livery_broker::{OperatorAnswer, OperatorClient};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};

/// Largest answer that is a list: a page has a thousand names.
const LIST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest answer that is an object.
const OBJECT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Largest answer of any other kind, errors among them.
const OTHER_BYTES_MAX: u64 = 64 * 1024;
/// Longest code of an error.
const CODE_BYTES_MAX: usize = 64;

/// An answer that is no success: its status, and the code S3 servers put into its body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}")]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Letters and digits alone; empty: there was none.
    pub(super) code: String,
}

/// The origin could not be talked to.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{0}")]
pub(super) struct Silence(pub(super) livery_broker::Error);

/// The answer is larger than anything that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the answer is larger than its limit")]
struct Flood;

/// Hands the S3 client its one way out.
#[derive(Debug)]
pub(super) struct Connector(pub(super) OperatorClient);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(OperatorClient);

impl HttpService for Service {
    fn call<'a, 'life>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'life>>
    where
        'a: 'life,
        Self: 'life,
    {
        Box::pin(exchange(&self.0, request))
    }
}

async fn exchange(client: &OperatorClient, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let bytes_max = match (request.method(), request.uri().query()) {
        (&Method::GET, Some(query)) if query.contains("list-type=") => LIST_BYTES_MAX,
        (&Method::GET, _) => OBJECT_BYTES_MAX,
        _ => OTHER_BYTES_MAX,
    };
    let request = request.map(|body| body.map_err(Into::into).boxed());
    let answer = client.send(request).await.map_err(silence)?;
    let (head, body) = answer.into_parts();
    if head.status.is_success() {
        return Ok(HttpResponse::from_parts(head, HttpResponseBody::new(Bounded { body, left: bytes_max })));
    }
    let mut body = Bounded { body, left: OTHER_BYTES_MAX };
    let mut text = BytesMut::new();
    // What breaks off or is too long has no code worth looking for; the status is what counts.
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
    }
    Err(refusal(head.status, code_in(&text)))
}

/// Passing trouble is what the S3 client tries again for, a few times.
fn refusal(status: StatusCode, code: String) -> HttpError {
    let passing = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
    let kind = if passing { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
    HttpError::new(kind, Reply { status: status.as_u16(), code })
}

fn silence(error: livery_broker::Error) -> HttpError {
    let kind = match error {
        // An idle connection that the server had closed shows like this too.
        livery_broker::Error::Cut => HttpErrorKind::Request,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, Silence(error))
}

/// The text of the first `<Code>` of an error document, if it is one word.
fn code_in(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map(|(code, _)| code.trim()).unwrap_or_default();
    let is_word = code.len() <= CODE_BYTES_MAX && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { code.to_owned() } else { String::new() }
}

/// A body with an end.
struct Bounded {
    body: OperatorAnswer,
    left: u64,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else { return Poll::Pending };
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, Silence(error)))?;
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match this.left.checked_sub(length) {
                Some(left) => this.left = left,
                None => return Err(HttpError::new(HttpErrorKind::Decode, Flood)),
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::code_in;

    #[test]
    fn a_code_is_one_word_or_none() {
        let document = b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>x</Message></Error>";
        assert_eq!(code_in(document), "SlowDown");
        for garbage in [&b""[..], b"<Code>", b"<Code>a b</Code>", b"<Code>\xff</Code>", &[b'<'; 4096]] {
            assert_eq!(code_in(garbage), "");
        }
        assert_eq!(code_in(format!("<Code>{}</Code>", "a".repeat(65)).as_bytes()), "");
    }
}
