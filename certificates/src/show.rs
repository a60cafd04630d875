//! What a certificate says, for people and scripts.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use actix_cluster_transport::tls::CertificateDetails;
use serde_json::{Value, json};

use crate::{Done, Failure, files::read, now};

const DAY_SECONDS: u64 = 24 * 60 * 60;

pub(crate) fn show(file: &Path) -> Result<Done, Failure> {
    let pem = read(file)?;
    let all = CertificateDetails::from_pem(pem.as_bytes()).map_err(|error| {
        let remedy = "give a file of certificates, such as NAME.pem or ca.pem";
        Failure::because(format!("{}: {error}", file.display()), remedy)
    })?;
    let text: Vec<_> = all.iter().map(lines).collect();
    let json = json!({ "certificates": all.iter().map(self::json).collect::<Vec<_>>() });
    Ok(Done { text: text.join("\n\n"), json })
}

fn lines(details: &CertificateDetails) -> String {
    let names = if details.names.is_empty() { "none".into() } else { details.names.join(", ") };
    let left = match details.not_after.duration_since(now()) {
        Ok(left) => format!("{} days left", left.as_secs() / DAY_SECONDS),
        Err(_) => "expired".into(),
    };
    format!(
        "names:       {names}\nvalid:       {} to {}, {left}\nserial:      {}\nfingerprint: {}",
        date(details.not_before),
        date(details.not_after),
        serial(details),
        details.fingerprint,
    )
}

pub(crate) fn json(details: &CertificateDetails) -> Value {
    json!({
        "names": details.names,
        "not_before": date(details.not_before),
        "not_after": date(details.not_after),
        "serial": serial(details),
        "fingerprint": details.fingerprint.to_string(),
    })
}

fn serial(details: &CertificateDetails) -> String {
    details.serial.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As in RFC 3339, in whole seconds of UTC.
pub(crate) fn date(time: SystemTime) -> String {
    // Nothing before 1970 is of interest.
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    // The Gregorian calendar, in years that begin with March.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_577_836_799, "2019-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
