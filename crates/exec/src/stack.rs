//! Operators within operators pull one another, and are dropped within one another, as deep as the plan is. See
//! [`types::stack`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use types::stack::grown;
use types::{Batch, SqlResult};

use crate::context::ExecContext;
use crate::operator::{BoxOperator, Operator};

/// A future that is polled and dropped with enough stack for one level more. Between two polls nothing of it is on any
/// stack, so it does not matter which thread polls.
pub struct Grown<'a, T>(Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>);

impl<'a, T> Grown<'a, T> {
    #[must_use]
    pub fn new(future: Pin<Box<dyn Future<Output = T> + Send + 'a>>) -> Self {
        Self(Some(future))
    }
}

impl<T> Future for Grown<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let future = self.0.as_mut().expect("a future is dropped once");
        grown(|| future.as_mut().poll(context))
    }
}

impl<T> Drop for Grown<'_, T> {
    fn drop(&mut self) {
        let future = self.0.take();
        grown(|| drop(future));
    }
}

/// The operator below, with more stack.
pub(crate) struct OnGrownStack {
    input: Option<BoxOperator>,
}

impl OnGrownStack {
    pub(crate) fn new(input: BoxOperator) -> Self {
        Self { input: Some(input) }
    }
}

#[async_trait]
impl Operator for OnGrownStack {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let input = self.input.as_mut().expect("an operator is dropped once");
        Grown::new(input.next(ctx)).await
    }
}

impl Drop for OnGrownStack {
    fn drop(&mut self) {
        let input = self.input.take();
        grown(|| drop(input));
    }
}
