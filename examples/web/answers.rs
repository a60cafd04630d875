//! What a request is answered when it has not come to a result, told as honestly as the fleet tells it.

use std::fmt;

use actix_cluster::{AskError, RejectReason, RemoteMessage, UnknownReason};
use actix_web::{
    HttpResponse, ResponseError,
    error::JsonPayloadError,
    http::{StatusCode, header},
};

/// Why a request has no result.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// 400: a field of the request can't be taken.
    Bad { field: &'static str, text: String },
    /// 400, 413 or 415: the body can't be read.
    Body(StatusCode, String),
    /// 404.
    Unknown { what: &'static str, key: String },
    /// 503: nothing has run, and it may go better in a moment.
    Busy(RejectReason),
    /// 504 or 502: it may have run.
    MayHaveRun(UnknownReason),
    /// 502: the aircraft has it, and an airport may not.
    Undelivered,
    /// 500: nothing has run, and nothing will.
    Broken(String),
}

impl Refusal {
    pub(crate) fn of_body(error: &JsonPayloadError) -> Self {
        let status = match error {
            JsonPayloadError::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            _ => StatusCode::BAD_REQUEST,
        };
        Self::Body(status, error.to_string())
    }

    pub(crate) fn of<M: RemoteMessage>(error: &AskError<M>) -> Self {
        match error {
            AskError::Rejected {
                reason: RejectReason::Mismatch | RejectReason::Unsendable,
                ..
            }
            | AskError::Cycle { .. } => Self::Broken(error.to_string()),
            AskError::Rejected { reason, .. } => Self::Busy(*reason),
            AskError::Unknown(reason) => Self::MayHaveRun(*reason),
            _ => Self::Undelivered,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad { field, text } => write!(f, "{field}: {text}"),
            Self::Body(_, text) => f.write_str(text),
            Self::Unknown { what, key } => write!(f, "no {what} {key}"),
            Self::Busy(reason) => write!(f, "nothing has run ({reason}): try again"),
            Self::MayHaveRun(reason) => {
                write!(f, "it may have run ({reason}): look before a repeat")
            }
            Self::Undelivered => {
                f.write_str("it may have run in part: an airport has not answered its aircraft")
            }
            Self::Broken(text) => f.write_str(text),
        }
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Bad { .. } => StatusCode::BAD_REQUEST,
            Self::Body(status, _) => *status,
            Self::Unknown { .. } => StatusCode::NOT_FOUND,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::MayHaveRun(UnknownReason::Deadline) => StatusCode::GATEWAY_TIMEOUT,
            Self::MayHaveRun(_) | Self::Undelivered => StatusCode::BAD_GATEWAY,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Self::Busy(_) = self {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        let field = if let Self::Bad { field, .. } = self { Some(field) } else { None };
        response.json(serde_json::json!({ "error": self.to_string(), "field": field }))
    }
}
