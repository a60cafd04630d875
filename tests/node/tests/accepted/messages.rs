//! Every form of a message, with `Result` and its kin shadowed where the derive writes code.

use std::convert::Infallible;

use actix_cluster::{RemoteMessage, message};

mod bank {
    use actix_cluster::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub enum BankError {
        Closed,
    }

    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "Result<i64, BankError>")]
    #[remote(name = "bank.Deposit", version = 1)]
    pub struct Deposit(pub i64);

    /// Of the same shape as [`Deposit`].
    #[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "::std::result::Result<i64,BankError,>")]
    #[remote(name = "bank/Deposit-2", version = 0x2)]
    pub(crate) struct Renamed(
        /// In cents.
        pub i64,
    );

    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(i64)]
    #[remote(name = "bank.Balance", version = 1)]
    pub struct Balance;

    #[derive(RemoteMessage, Serialize, Deserialize)]
    #[remote(name = "bank.Close", version = 1)]
    pub enum Close {
        Now,
        In { days: u32 },
    }

    impl Message for Close {
        type Result = ();
    }
}

mod shadowed {
    #![allow(dead_code)]

    struct Result;
    struct Vec;
    struct Ok;
    struct Err;
    struct Infallible;
    mod core {}
    mod message {}
    mod actix_cluster {}

    #[derive(::actix_cluster::RemoteMessage, ::serde::Serialize, ::serde::Deserialize)]
    #[remote(name = "shadowed.Ask", version = 1)]
    #[rtype(result = "std::result::Result<std::vec::Vec<u8>, u8>")]
    pub struct Ask;

    impl ::actix::Message for Ask {
        type Result = std::result::Result<std::vec::Vec<u8>, u8>;
    }
}

macro_rules! remote {
    ($ident:ident, $name:literal, $version:expr, $field:ty) => {
        #[derive(actix::Message, RemoteMessage, serde::Serialize, serde::Deserialize)]
        #[rtype(result = "u8")]
        #[remote(name = $name, version = $version)]
        struct $ident($field);
    };
}

remote!(Made, "made.By.Macro", 3, Vec<u8>);

#[derive(actix::Message, RemoteMessage, serde::Serialize, serde::Deserialize)]
#[rtype(result = "u8")]
#[remote(name = "written.By.Hand", version = 3)]
struct Written(Vec<u8>);

fn check_error<M: RemoteMessage<Error = E>, E>() {}

#[test]
fn every_form_of_a_message_is_accepted() {
    use bank::*;

    assert_eq!(Deposit::NAME, "bank.Deposit");
    assert_eq!((Renamed::NAME, Renamed::VERSION), ("bank/Deposit-2", 2));
    assert_eq!(Deposit::SCHEMA, Renamed::SCHEMA);
    assert_eq!(Deposit::SCHEMA, message::schema_key("struct(i64)->Result<i64,BankError>"));
    assert_ne!(Deposit::SCHEMA, Balance::SCHEMA);
    assert_eq!((Made::NAME, Made::VERSION), ("made.By.Macro", 3));
    assert_eq!(Made::SCHEMA, Written::SCHEMA);

    check_error::<Deposit, BankError>();
    check_error::<Balance, Infallible>();
    check_error::<Close, Infallible>();
    check_error::<shadowed::Ask, u8>();

    for result in [Ok(-7), Err(BankError::Closed)] {
        let bytes = Deposit::encode_result(&result, vec![]).unwrap();
        assert_eq!(Deposit::decode_outcome(&bytes).unwrap(), result);
        assert_eq!(Deposit::into_outcome(result), Deposit::decode_outcome(&bytes).unwrap());
    }

    let bytes = Balance::encode_result(&3, vec![]).unwrap();
    assert_eq!(bytes, message::encode(&3i64, vec![]).unwrap());
    assert_eq!(Balance::decode_outcome(&bytes), Ok(Ok(3)));
    assert_eq!(Balance::into_outcome(3), Ok(3));
    assert!(Balance::decode_outcome(&[6, 0]).is_err());
    assert_eq!(Close::decode_outcome(&[]), Ok(Ok(())));
}
