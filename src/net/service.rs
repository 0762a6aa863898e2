//! The tower service as hyper wants it, with what the connection knows added to each request.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::ServiceExt;
use tower::util::Oneshot;

use super::exchange::Exchange;
use super::outbound::Paced;
use crate::delivery::Peer;

/// Serves one HTTP/1 connection.
pub(super) struct Http1<S> {
    pub(super) service: S,
    pub(super) peer: Arc<Peer>,
    pub(super) exchange: Arc<Exchange>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Http1<S>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<Paced<B>>;
    type Error = Infallible;
    type Future = Answer<Oneshot<S, Request<Incoming>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let head = self.exchange.inbound.request(request.body().size_hint().exact());
        request.extensions_mut().insert(head);
        request.extensions_mut().insert(Arc::clone(&self.peer));
        Answer { answer: self.service.clone().oneshot(request), exchange: Arc::clone(&self.exchange) }
    }
}

/// Serves one HTTP/2 connection. Its heads are compressed: there is no raw form to keep.
pub(super) struct Http2<S> {
    pub(super) service: S,
    pub(super) peer: Arc<Peer>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Http2<S>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Oneshot<S, Request<Incoming>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Arc::clone(&self.peer));
        self.service.clone().oneshot(request)
    }
}

pin_project! {
    /// An answer to come, whose body waits for the socket.
    pub(super) struct Answer<F> {
        #[pin]
        answer: F,
        exchange: Arc<Exchange>,
    }
}

impl<F, B> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Paced<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(answer) = ready!(this.answer.poll(cx));
        Poll::Ready(Ok(answer.map(|body| Paced::new(body, Arc::clone(this.exchange)))))
    }
}
