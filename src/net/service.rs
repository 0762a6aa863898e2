//! The tower service as hyper wants it, with what the connection knows added to each request.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::ServiceExt;
use tower::util::Oneshot;

use super::content::Content;
use super::exchange::Exchange;
use super::outbound::Paced;
use super::streams::{Sending, Sent, Streams};
use crate::delivery::Peer;
use crate::diagnosis::{Protocol, Signature};

/// Serves one HTTP/1 connection.
pub(super) struct Http1<S> {
    pub(super) service: S,
    pub(super) peer: Arc<Peer>,
    pub(super) exchange: Arc<Exchange>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Http1<S>
where
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<Paced<B>>;
    type Error = Infallible;
    type Future = Answer<Oneshot<S, Request<Content>>, Arc<Exchange>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.exchange.outbound.begin();
        self.exchange.takeover.consider(&request);
        let head = self.exchange.inbound.request(request.body().size_hint().exact());
        if reads(request.method()) {
            request.extensions_mut().insert(Signature::of_head(head.as_bytes()));
        }
        request.extensions_mut().insert(head);
        request.extensions_mut().insert(Arc::clone(&self.peer));
        Answer {
            answer: self.service.clone().oneshot(request.map(Content::Incoming)),
            pace: Arc::clone(&self.exchange),
            left: false,
        }
    }
}

/// Whether such a request may open a stream: of others nobody asks by which way they came.
fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET)
}

/// Serves one HTTP/2 connection. Its heads are compressed: there is no raw form to keep.
pub(super) struct Http2<S> {
    pub(super) service: S,
    pub(super) peer: Arc<Peer>,
    pub(super) streams: Streams,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Http2<S>
where
    S: tower::Service<Request<Content>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<Sent<B>>;
    type Error = Infallible;
    type Future = Answer<Boxed<S>, Arc<Sending>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let sending = self.streams.begin(&self.peer);
        if reads(request.method()) {
            let fields = request.headers().iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
            let signature = Signature::of_fields(Protocol::Http2, fields);
            request.extensions_mut().insert(signature);
        }
        request.extensions_mut().insert(Arc::clone(sending.peer()));
        let answer = Boxed::Asked(Some(Box::new((self.service.clone(), request.map(Content::Incoming)))));
        Answer { answer, pace: sending, left: false }
    }
}

/// What answers one request of HTTP/2.
///
/// Boxed, as hyper's task of a stream has room for it as long as the stream lasts; and made when it is first polled, as
/// the requests of a connection, a hundred maybe, are all read before the first of them is answered.
pub(super) enum Boxed<S: tower::Service<Request<Content>>> {
    Asked(Option<Box<(S, Request<Content>)>>),
    Answering(Pin<Box<Oneshot<S, Request<Content>>>>),
}

impl<S: tower::Service<Request<Content>>> Unpin for Boxed<S> {}

impl<S: tower::Service<Request<Content>>> Future for Boxed<S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Self::Asked(asked) = this
            && let Some(asked) = asked.take()
        {
            let (service, request) = *asked;
            *this = Self::Answering(Box::pin(service.oneshot(request)));
        }
        match this {
            Self::Answering(answering) => answering.as_mut().poll(cx),
            Self::Asked(_) => Poll::Pending, // It has just ceased to be.
        }
    }
}

/// What holds a body back.
pub(super) trait Pace<B> {
    type Body;

    fn pace(&self, body: B) -> Self::Body;

    /// Whether somebody else answers, outside hyper.
    fn leaves(&self, _answer: &mut Response<B>) -> bool {
        false
    }
}

impl<B> Pace<B> for Arc<Exchange> {
    type Body = Paced<B>;

    fn pace(&self, body: B) -> Paced<B> {
        Paced::new(body, Self::clone(self))
    }

    fn leaves(&self, answer: &mut Response<B>) -> bool {
        self.takeover.take_from(answer)
    }
}

impl<B> Pace<B> for Arc<Sending> {
    type Body = Sent<B>;

    fn pace(&self, body: B) -> Sent<B> {
        Sent::new(body, Self::clone(self))
    }
}

pin_project! {
    /// An answer to come, whose body waits for the peer.
    pub(super) struct Answer<F, P> {
        #[pin]
        answer: F,
        pace: P,
        left: bool,
    }
}

impl<F, P, B> Future for Answer<F, P>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    P: Pace<B>,
{
    type Output = Result<Response<P::Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if *this.left {
            return Poll::Pending; // The connection is about to be taken apart.
        }
        let Ok(mut answer) = ready!(this.answer.poll(cx));
        if this.pace.leaves(&mut answer) {
            *this.left = true;
            return Poll::Pending;
        }
        Poll::Ready(Ok(answer.map(|body| this.pace.pace(body))))
    }
}
