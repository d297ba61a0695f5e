//! Metrics of a service over HTTP: one request at a time, each with a limit on its size and time.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Bytes of a request that are read.
const REQUEST: usize = 8 * 1024;

/// How long one client may take, with its request and with the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// After an accept that failed, since the next one may fail at once for the same reason.
const AFTER_ERROR: Duration = Duration::from_millis(200);

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves what `text` gives at `/metrics`, until the process ends. Returns the address.
///
/// # Errors
/// The address is not available, or there is no thread for it.
pub(crate) fn serve(listen: &(String, u16), text: impl Fn() -> String + Send + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((listen.0.as_str(), listen.1))?;
    let address = listener.local_addr()?;
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => {
                    if let Err(error) = answer(stream, &text) {
                        tracing::debug!(%error, "metrics not sent");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    thread::sleep(AFTER_ERROR);
                }
            }
        }
    })?;
    Ok(address)
}

fn answer(mut stream: TcpStream, text: &impl Fn() -> String) -> io::Result<()> {
    let request = request(&mut stream)?;
    let (status, content_type, body) = match parse(&request) {
        Some(("GET", "/metrics")) => ("200 OK", CONTENT_TYPE, text()),
        Some(("GET", _)) => ("404 Not Found", "text/plain", "metrics are at /metrics\n".to_owned()),
        Some(_) => (
            "405 Method Not Allowed",
            "text/plain",
            "only GET is answered\n".to_owned(),
        ),
        None => ("400 Bad Request", "text/plain", "not an HTTP request\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// The head of a request, or as much of it as is read.
fn request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let end = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while request.len() < REQUEST && !request.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            count => request.extend_from_slice(part.get(..count).unwrap_or_default()),
        }
    }
    Ok(request)
}

/// Method and path of a request.
fn parse(request: &[u8]) -> Option<(&str, &str)> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let path = target.split('?').next()?;
    version.starts_with("HTTP/1.").then_some((method, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: &[u8]) -> String {
        let listen = ("127.0.0.1".to_owned(), 0);
        let address = serve(&listen, || "# EOF\n".to_owned()).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        // a request that was not read to its end resets the connection
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn metrics_are_sent_and_nothing_else_is() {
        let answer = asked(b"GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text"),
            "{answer}"
        );
        assert!(
            answer.ends_with("Content-Length: 6\r\nConnection: close\r\n\r\n# EOF\n"),
            "{answer}"
        );
        assert!(asked(b"GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(asked(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        for wrong in [&b"\xff\xfe"[..], b"GET /metrics", b"", b"\r\n\r\n"] {
            assert!(asked(wrong).starts_with("HTTP/1.1 400"), "{wrong:?}");
        }
    }

    #[test]
    fn a_request_without_an_end_is_not_read_for_ever() {
        let answer = asked(&vec![b'a'; 4 * REQUEST]);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}
