//! What a PKCS#11 module answers, and what that means.

use cryptoki::error::{Error, RvError};

use crate::keys::error::{KeyError, KeyErrorKind};

/// Why a piece of work with a token failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The token is not there; it may come back.
    Away(KeyError),
    /// The module refused a call.
    Call(Error),
    /// The keys that are remembered are not those of the token any more.
    Changed,
    /// A failure that is understood already.
    Known(KeyError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Known(error)
    }
}

impl Failure {
    /// Whether a new session, and the keys looked up anew, may succeed where this one failed: the token
    /// was taken out, its login or a key's handle is no longer good, or the module has lost itself.
    pub(super) fn is_stale(&self) -> bool {
        match self {
            Self::Away(_) | Self::Changed => true,
            Self::Call(error) => code(error).is_some_and(is_stale),
            Self::Known(_) => false,
        }
    }

    /// Whether a call was refused, which may have left an operation under way in its session.
    pub(super) fn is_of_call(&self) -> bool {
        matches!(self, Self::Call(_))
    }

    /// Whether the module says no more than that it cannot. tpm2-pkcs11 says so to everything, once its TPM was away,
    /// until it is initialised anew.
    pub(super) fn is_trouble(&self) -> bool {
        let Self::Call(error) = self else {
            return false;
        };
        let code = code(error);
        code.is_some_and(|code| matches!(code, RvError::FunctionFailed | RvError::GeneralError))
    }

    /// Whether the module answers like this to a wrapped key that is not what the key made. Some
    /// have no better words for it than "failed".
    pub(super) fn may_be_bad_data(&self) -> bool {
        let Self::Call(error) = self else {
            return false;
        };
        code(error).is_some_and(|code| is_bad_data(code) || is_vague(code))
    }

    /// Whether the module says that key and mechanism do not go together.
    pub(super) fn is_unsuitable(&self) -> bool {
        self.is_of_call() && !self.is_stale()
    }

    /// Whether the module says that it has no such mechanism, or not for keys of this kind.
    pub(super) fn is_unsupported(&self) -> bool {
        let Self::Call(error) = self else {
            return false;
        };
        code(error).is_some_and(is_unsupported)
    }

    /// The failure for whoever asked; `what` was being done.
    pub(super) fn into_error(self, what: &str) -> KeyError {
        match self {
            Self::Away(error) | Self::Known(error) => error,
            Self::Changed => {
                KeyError::unavailable(format!("{what}: the token's keys keep changing"))
            }
            Self::Call(error) => of_call(&error, what),
        }
    }
}

fn code(error: &Error) -> Option<RvError> {
    if let Error::Pkcs11(code, _function) = error {
        Some(*code)
    } else {
        None
    }
}

fn of_call(error: &Error, what: &str) -> KeyError {
    let kind = code(error).map_or(KeyErrorKind::Unavailable, kind);
    KeyError::new(kind, format!("{what}: {}", in_short(error)))
}

/// In one line: the crate's own text of a code is a paragraph of the standard.
pub(super) fn in_short(error: &Error) -> String {
    if let Error::Pkcs11(code, function) = error {
        format!("C_{function:?} answered {code:?}")
    } else {
        error.to_string()
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the standard has a hundred codes"
)]
fn kind(code: RvError) -> KeyErrorKind {
    match code {
        code if is_refused_login(code) => KeyErrorKind::Denied,
        code if is_bad_data(code) => KeyErrorKind::Corrupt,
        RvError::KeyFunctionNotPermitted => KeyErrorKind::Revoked,
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => KeyErrorKind::NotFound,
        _ => KeyErrorKind::Unavailable,
    }
}

/// The PIN was sent and refused. To send it again would bring the token nearer to locking itself.
pub(super) fn is_refused_login(code: RvError) -> bool {
    matches!(
        code,
        RvError::PinExpired
            | RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinLocked
            | RvError::UserPinNotInitialized
            | RvError::UserTypeInvalid
    )
}

fn is_bad_data(code: RvError) -> bool {
    matches!(
        code,
        RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::WrappedKeyInvalid
            | RvError::WrappedKeyLenRange
    )
}

fn is_unsupported(code: RvError) -> bool {
    matches!(
        code,
        RvError::ArgumentsBad
            | RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::FunctionNotSupported
            | RvError::KeySizeRange
            | RvError::KeyTypeInconsistent
            | RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::TemplateInconsistent
    )
}

fn is_vague(code: RvError) -> bool {
    matches!(
        code,
        RvError::ArgumentsBad | RvError::FunctionFailed | RvError::GeneralError
    )
}

fn is_stale(code: RvError) -> bool {
    matches!(
        code,
        RvError::CryptokiNotInitialized
            | RvError::DeviceError
            | RvError::DeviceRemoved
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::OperationActive
            | RvError::OperationNotInitialized
            | RvError::SessionClosed
            | RvError::SessionHandleInvalid
            | RvError::SlotIdInvalid
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::UserNotLoggedIn
    )
}
