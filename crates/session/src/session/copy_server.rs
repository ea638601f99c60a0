//! COPY whose other end is a file or a program of the server.

use std::{ops::Range, sync::Arc};

use exec::{
    CancelFlag,
    server_files::{FileUser, ServerFiles, ServerStream, available},
};
use futures::future::BoxFuture;
use plan::{
    PlanColumn, PreparedPlan,
    statement::{CopyOptions, ServerEnd},
};
use types::{Batch, Datum, Formatting, SqlError, SqlResult};

use super::{Completion, Failure, Session, copy_in::CopyStep};
use crate::{
    copy::{CopyIn, CopyRows},
    sink::{Severity, Sink},
};

/// One read, and about how much is gathered before a write.
const PIECE_BYTES: usize = 64 << 10;

async fn open(files: Option<&ServerFiles>, end: &ServerEnd, reads: bool) -> SqlResult<ServerStream> {
    let files = available(files)?;
    Ok(match end {
        ServerEnd::Program(command) => ServerStream::Program(files.run(command, reads)?),
        ServerEnd::File(path) => {
            let file = match reads {
                true => files.read(path, FileUser::Copy).await?,
                false => files.write(path, FileUser::Copy).await?,
            };
            ServerStream::File { file, path: path.clone() }
        }
    })
}

impl Session {
    /// # Errors
    /// As COPY from a client, and those of the file.
    pub(super) async fn copy_from_server(&mut self, mut copy: CopyIn, end: &ServerEnd) -> Result<Completion, Failure> {
        let cancel = self.cancel_flag();
        self.runs_once(end);
        let mut stream = open(self.engine.server_files.as_deref(), end, true).await?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            // A program may never write anything.
            let read = tokio::select! {
                read = stream.read(&mut piece) => read?,
                error = cancel.cancelled() => return Err(error.into()),
            };
            if read == 0 {
                break;
            }
            if copy.gather(&piece[..read]) {
                self.copy_step(&mut copy, CopyStep::Feed).await?;
            }
        }
        tokio::select! {
            ended = stream.end() => ended?,
            error = cancel.cancelled() => return Err(error.into()),
        }
        self.copy_step(&mut copy, CopyStep::Finish).await?;
        Ok(Completion::Done(format!("COPY {}", copy.rows())))
    }

    /// # Errors
    /// As COPY to a client, and those of the file.
    pub(super) async fn copy_to_server(
        &mut self,
        query: &Arc<PreparedPlan>,
        params: &[Datum],
        options: &CopyOptions,
        end: &ServerEnd,
    ) -> Result<Completion, Failure> {
        let cancel = self.cancel_flag();
        self.runs_once(end);
        let stream = open(self.engine.server_files.as_deref(), end, false).await?;
        let mut rows = CopyRows::new(&query.columns, options);
        let out = rows.header(&query.columns).unwrap_or_default();
        let mut sink = ServerSink { stream, rows, out, cancel: cancel.clone() };
        let counts = self.query(query, params, &mut sink, false).await?;
        sink.rows.end(&mut sink.out);
        sink.drain().await?;
        tokio::select! {
            ended = sink.stream.end() => ended?,
            error = cancel.cancelled() => return Err(error.into()),
        }
        Ok(Completion::Done(format!("COPY {}", counts.rows)))
    }

    /// What a program has done is not undone: its statement is not run again when it loses to another transaction.
    fn runs_once(&mut self, end: &ServerEnd) {
        if matches!(end, ServerEnd::Program(_)) {
            self.has_ended_one = true;
        }
    }
}

/// Where the rows of COPY TO go.
struct ServerSink {
    stream: ServerStream,
    rows: CopyRows,
    out: Vec<u8>,
    cancel: CancelFlag,
}

impl Sink for ServerSink {
    fn columns(&mut self, _columns: &[PlanColumn]) {}

    fn rows(&mut self, batch: &Batch, rows: Range<usize>, formatting: &Formatting) -> SqlResult<usize> {
        for row in rows.clone() {
            if self.out.len() >= PIECE_BYTES {
                return Ok(row);
            }
            self.rows.row(&mut self.out, batch, row, formatting)?;
        }
        Ok(rows.end)
    }

    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        Box::pin(async {
            // A program may never read anything.
            tokio::select! {
                written = self.stream.write(&self.out) => written?,
                error = self.cancel.cancelled() => return Err(error),
            }
            self.out.clear();
            Ok(())
        })
    }

    fn notice(&mut self, _severity: Severity, _notice: SqlError) {}
}
