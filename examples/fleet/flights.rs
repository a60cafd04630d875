//! The input file: all flights in the order in which they are fed, and who each one concerns.
//!
//! Every process reads the file, so that an entity that lost its state can fold it anew. Nothing
//! here knows of messages or nodes.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

/// One flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// The carrier, as a number of [`Flights::carriers`].
    pub(crate) carrier: u32,
    /// The aircraft, as a number of [`Flights::aircraft`].
    pub(crate) aircraft: u32,
    /// Where it departed, as a number of [`Flights::airports`].
    pub(crate) origin: u32,
    /// Where it arrived, as a number of [`Flights::airports`].
    pub(crate) dest: u32,
    /// Minutes of delay, if it departed.
    pub(crate) delay: Option<i32>,
    /// The distance.
    pub(crate) miles: u32,
}

/// The whole file.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    /// In the order of the file.
    pub(crate) rows: Vec<Flight>,
    /// Codes of carriers.
    pub(crate) carriers: Names,
    /// Tail numbers.
    pub(crate) aircraft: Names,
    /// Codes of airports.
    pub(crate) airports: Names,
    /// The rows of each aircraft, in order.
    pub(crate) rows_of_aircraft: Vec<Vec<u32>>,
    /// The visits of each airport, in order: twice the row for a departure, one more for an
    /// arrival.
    pub(crate) visits_of_airport: Vec<Vec<u32>>,
}

/// Texts that occur again and again, each with a number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    texts: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// The text of a number.
    pub(crate) fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }

    /// The number of a text, if it occurs.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// All texts, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// Why the file can't be used.
#[derive(Debug)]
pub(crate) enum FlightsError {
    /// It can't be opened or read; a damaged or cut-off gzip is seen while reading.
    Io {
        /// The file.
        path: PathBuf,
        /// The first line that could not be read.
        line: u64,
        /// What went wrong.
        source: io::Error,
    },
    /// A line is no flight.
    Row {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// There is no flight in it.
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for FlightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, line: 0, source } => {
                write!(f, "{} can't be opened: {source}; name a file with --data", path.display())
            }
            Self::Io { path, line, source } => write!(
                f,
                "{} can't be read from line {line} on: {source}; it may be damaged or cut off",
                path.display()
            ),
            Self::Row { path, line, what } => {
                write!(f, "{}, line {line}: {what}", path.display())
            }
            Self::Empty { path } => write!(f, "{} holds no flight", path.display()),
        }
    }
}

impl std::error::Error for FlightsError {}

/// The longest code or tail number, in bytes: it becomes the key of an entity.
const TEXT_LIMIT: usize = 64;

const COLUMNS: [&str; 8] =
    ["time_hour", "carrier", "flight", "tailnum", "origin", "dest", "dep_delay", "distance"];

impl Flights {
    /// Reads the first `limit` flights of a gzipped file.
    pub(crate) fn read(path: &Path, limit: usize) -> Result<Self, FlightsError> {
        let failed = |line, source| FlightsError::Io { path: path.to_path_buf(), line, source };
        let file = File::open(path).map_err(|source| failed(0, source))?;
        let metadata = file.metadata().map_err(|source| failed(0, source))?;
        if !metadata.is_file() {
            return Err(failed(0, io::Error::other("it is no regular file")));
        }
        if metadata.len() == 0 {
            return Err(FlightsError::Empty { path: path.to_path_buf() });
        }
        Self::parse(path, MultiGzDecoder::new(BufReader::new(file)), limit)
    }

    fn parse(path: &Path, input: impl Read, limit: usize) -> Result<Self, FlightsError> {
        let mut reader = csv::Reader::from_reader(BufReader::with_capacity(1 << 16, input));
        let wrong = |line, what| FlightsError::Row { path: path.to_path_buf(), line, what };
        let headers = reader.headers().map_err(|error| refused(path, 1, error))?.clone();
        if headers.is_empty() {
            return Err(FlightsError::Empty { path: path.to_path_buf() });
        }
        if headers.iter().ne(COLUMNS) {
            return Err(wrong(1, format!("the columns have to be {}", COLUMNS.join(","))));
        }
        let mut flights = Self::default();
        let mut record = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            match reader.read_record(&mut record) {
                Ok(true) if flights.rows.len() < limit => {
                    flights.add(&record).map_err(|what| wrong(line, what))?;
                }
                // The rest is read too: a file that is cut off is not to be trusted.
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(refused(path, line, error)),
            }
        }
        if flights.rows.is_empty() {
            return Err(FlightsError::Empty { path: path.to_path_buf() });
        }
        Ok(flights)
    }

    fn add(&mut self, record: &csv::StringRecord) -> Result<(), String> {
        let text = |column: usize| match record.get(column) {
            Some("") | None => Err(format!("{} is empty", COLUMNS[column])),
            Some(text) if text.len() > TEXT_LIMIT => {
                Err(format!("{} has over {TEXT_LIMIT} bytes", COLUMNS[column]))
            }
            Some(text) => Ok(text),
        };
        let bad_number =
            |column: usize, text: &str| format!("{} is {text:?}, no number", COLUMNS[column]);
        let delay = match text(6)? {
            "NA" => None,
            minutes => Some(minutes.parse().map_err(|_| bad_number(6, minutes))?),
        };
        let miles = text(7)?;
        let flight = Flight {
            carrier: self.carriers.number(text(1)?),
            aircraft: self.aircraft.number(text(3)?),
            origin: self.airports.number(text(4)?),
            dest: self.airports.number(text(5)?),
            delay,
            miles: miles.parse().map_err(|_| bad_number(7, miles))?,
        };
        let row = self.rows.len() as u32;
        self.rows_of_aircraft.resize_with(self.aircraft.len(), Vec::new);
        self.visits_of_airport.resize_with(self.airports.len(), Vec::new);
        self.rows_of_aircraft[flight.aircraft as usize].push(row);
        self.visits_of_airport[flight.origin as usize].push(row * 2);
        self.visits_of_airport[flight.dest as usize].push(row * 2 + 1);
        self.rows.push(flight);
        Ok(())
    }

    /// The rows of an aircraft, by its tail number.
    pub(crate) fn rows_of(&self, tail_number: &str) -> &[u32] {
        let number = self.aircraft.find(tail_number);
        number.map_or(&[], |number| &self.rows_of_aircraft[number as usize])
    }

    /// The visits of an airport, by its code.
    pub(crate) fn visits_of(&self, code: &str) -> &[u32] {
        let number = self.airports.find(code);
        number.map_or(&[], |number| &self.visits_of_airport[number as usize])
    }
}

fn refused(path: &Path, line: u64, error: csv::Error) -> FlightsError {
    let path = path.to_path_buf();
    let what = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(source) => FlightsError::Io { path, line, source },
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            FlightsError::Row { path, line, what: format!("{len} columns, not {expected_len}") }
        }
        _ => FlightsError::Row { path, line, what },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "time_hour,carrier,flight,tailnum,origin,dest,dep_delay,distance\n";

    fn parse(rows: &str, limit: usize) -> Result<Flights, String> {
        let text = format!("{HEAD}{rows}");
        Flights::parse(Path::new("f"), text.as_bytes(), limit).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_and_visits_are_indexed_in_order() {
        let rows = "t,UA,1,N1,EWR,IAH,2,1400\nt,UA,2,N2,IAH,EWR,NA,1400\nt,AA,3,N1,EWR,MIA,-5,9\n";
        let flights = parse(rows, 9).expect("flights");
        assert_eq!(flights.rows.len(), 3);
        assert_eq!(flights.rows_of("N1"), [0, 2]);
        assert_eq!(flights.visits_of("EWR"), [0, 3, 4]);
        assert_eq!(flights.visits_of("IAH"), [1, 2]);
        assert_eq!(flights.rows[1].delay, None);
        assert_eq!(parse(rows, 2).expect("flights").rows.len(), 2);
        assert_eq!(flights.rows_of("N9"), [0; 0]);
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        let bad =
            |row: &str| parse(&format!("t,UA,1,N1,EWR,IAH,2,1400\n{row}\n"), 9).expect_err(row);
        assert_eq!(bad("t,UA,1,N1,EWR,IAH,soon,9"), r#"f, line 3: dep_delay is "soon", no number"#);
        assert_eq!(bad("t,UA,1,N1,EWR,IAH,1,-9"), r#"f, line 3: distance is "-9", no number"#);
        assert_eq!(bad("t,UA,1,,EWR,IAH,1,9"), "f, line 3: tailnum is empty");
        let long = "N".repeat(TEXT_LIMIT + 1);
        let long = bad(&format!("t,UA,1,{long},EWR,IAH,1,9"));
        assert_eq!(long, "f, line 3: tailnum has over 64 bytes");
        assert_eq!(bad("t,UA,1"), "f, line 3: 3 columns, not 8");
        assert_eq!(parse("", 9).expect_err("empty"), "f holds no flight");
    }
}
