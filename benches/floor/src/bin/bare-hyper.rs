//! Bare hyper: what the door of Bourse is built on, with nothing behind it. One current-thread runtime per core.

use anyhow::{Context, Result};
use bytes::Bytes;
use floor::{ANSWER, BidRequest};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

fn main() -> Result<()> {
    floor::run("bare hyper", serve)
}

fn serve(listener: std::net::TcpListener) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener).context("the socket is not usable")?;
        loop {
            let (stream, _) = listener.accept().await.context("cannot accept")?;
            let _ = stream.set_nodelay(true);
            spawn_local(connection(stream));
        }
    })
}

async fn connection(stream: TcpStream) {
    let served = hyper::server::conn::http1::Builder::new()
        // As in Bourse: hyper then keeps its read buffer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // An error here is the client's.
    let _ = served.await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::POST || request.uri().path() != "/bid" {
        return Ok(response(StatusCode::NOT_FOUND, "{}"));
    }
    let Ok(body) = request.into_body().collect().await else {
        return Ok(response(StatusCode::BAD_REQUEST, "{}"));
    };
    let body = body.to_bytes();
    Ok(match BidRequest::parse(&body) {
        Some(bid) => {
            std::hint::black_box(&bid);
            response(StatusCode::OK, ANSWER)
        }
        None => response(StatusCode::UNPROCESSABLE_ENTITY, "{}"),
    })
}

fn response(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
