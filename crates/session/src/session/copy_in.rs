//! COPY FROM: the client's data, a piece at a time.

use types::{SqlError, SqlResult};

use super::{Ending, Failure, Session};
use crate::{copy::CopyIn, sink::Severity};

#[derive(Clone, Copy)]
pub(super) enum CopyStep {
    Feed,
    Finish,
}

impl Session {
    /// Takes some of COPY's data in. It is looked at when there is enough of it, so that errors may come later.
    ///
    /// # Errors
    /// What is wrong with the data; the transaction has failed then.
    pub async fn copy_data(&mut self, copy: &mut CopyIn, data: &[u8]) -> SqlResult<()> {
        if !copy.gather(data) {
            return Ok(());
        }
        let outcome = self.copy_step(copy, CopyStep::Feed).await;
        match outcome {
            Ok(()) => Ok(()),
            Err(failure) => {
                let error = self.fail(failure.into_sql()).await;
                let outcome = Err(error);
                self.count_copy(copy.counting.take(), &outcome);
                outcome.map(|_: String| ())
            }
        }
    }

    /// Ends a COPY; answers its command tag.
    ///
    /// # Errors
    /// As [`Session::copy_data`].
    pub async fn copy_done(&mut self, copy: &mut CopyIn) -> SqlResult<String> {
        let mut outcome = self.copy_step(copy, CopyStep::Finish).await;
        if outcome.is_ok() {
            let implicit = self.block.as_ref().is_some_and(|block| !block.explicit);
            if implicit && copy.ending == Ending::WithStatement {
                outcome = self.commit().await;
            } else if let Some(block) = &mut self.block {
                block.answered += 1;
            }
        }
        self.stop_clock();
        let outcome = match outcome {
            Ok(()) => Ok(format!("COPY {}", copy.rows())),
            Err(failure) => Err(self.fail(failure.into_sql()).await),
        };
        self.count_copy(copy.counting.take(), &outcome);
        outcome
    }

    /// The client gave the COPY up.
    pub async fn copy_failed(&mut self, error: SqlError) -> SqlError {
        self.stop_clock();
        self.fail(error).await
    }

    pub(super) async fn copy_step(&mut self, copy: &mut CopyIn, step: CopyStep) -> Result<(), Failure> {
        let formatting = self.settings.formatting.clone();
        copy.beside_queries = self.portals.read_on();
        let outcome = self
            .with_exec(&[], &[], async |ctx| match step {
                CopyStep::Feed => copy.feed(&formatting, ctx).await,
                CopyStep::Finish => copy.finish(&formatting, ctx).await,
            })
            .await;
        if self.wants(Severity::Notice) {
            self.notices.extend(copy.notices.drain(..).map(|notice| (Severity::Notice, notice)));
        }
        outcome
    }
}
