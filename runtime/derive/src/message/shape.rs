//! The shape of a message as text: what its schema key is computed from.
//!
//! Invariant: two shapes that serde writes differently differ here as far as the tokens of the
//! type show it. The type's own name, its visibility and the layout of the source don't count.
//!
//! ```text
//! struct(i64)->Result<i64,BankError>
//! struct{id:u64,#[serde(skip)]hint:String}->()
//! struct->u32+Row
//! #[serde(rename_all="snake_case")]enum{Open,Move(i8,i8),Close{why:String}}->bool
//! ```

use syn::{
    Attribute, Data, DeriveInput, Field, Fields, Meta, Token, Type, Variant, ext::IdentExt,
    punctuated::Punctuated,
};

use crate::{
    message::rtype::Rtype,
    text::{joined, of_tokens, of_type},
};

/// The text of a message's shape.
pub(crate) fn of(input: &DeriveInput, rtype: &Rtype, items: Option<&Type>) -> String {
    let serde = serde(&input.attrs);
    let data = match &input.data {
        Data::Struct(data) => format!("struct{}", fields(&data.fields)),
        Data::Enum(data) => format!("enum{{{}}}", joined(data.variants.iter().map(variant))),
        Data::Union(_) => unreachable!("a union is refused before"),
    };
    let result = match &rtype.result {
        // However the path to `Result` is written.
        Some(types) => format!("Result<{},{}>", of_type(&types.reply), of_type(&types.error)),
        None => of_type(&rtype.whole),
    };
    let items = items.map_or_else(String::new, |items| format!("+{}", of_type(items)));
    format!("{serde}{data}->{result}{items}")
}

fn variant(variant: &Variant) -> String {
    // A discriminant counts for those who write serde's traits from it.
    let discriminant = match &variant.discriminant {
        Some((_, value)) => format!("={}", of_tokens(value)),
        None => String::new(),
    };
    let serde = serde(&variant.attrs);
    format!("{serde}{}{}{discriminant}", variant.ident.unraw(), fields(&variant.fields))
}

fn fields(fields: &Fields) -> String {
    match fields {
        Fields::Named(list) => format!("{{{}}}", joined(list.named.iter().map(field))),
        Fields::Unnamed(list) => format!("({})", joined(list.unnamed.iter().map(field))),
        Fields::Unit => String::new(),
    }
}

fn field(field: &Field) -> String {
    let serde = serde(&field.attrs);
    let ty = of_type(&field.ty);
    match &field.ident {
        Some(ident) => format!("{serde}{}:{ty}", ident.unraw()),
        None => format!("{serde}{ty}"),
    }
}

/// serde's attributes as one: they change what is written.
fn serde(attrs: &[Attribute]) -> String {
    let items: Vec<_> = attrs
        .iter()
        .filter(|attr| attr.path().is_ident("serde"))
        .flat_map(|attr| {
            let list = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            match list {
                Ok(list) => list.iter().map(of_tokens).collect(),
                // serde will refuse it, and say why.
                Err(_) => vec![of_tokens(&attr.meta)],
            }
        })
        .collect();
    match items.is_empty() {
        true => String::new(),
        false => format!("#[serde({})]", items.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(message: &str) -> String {
        let input: DeriveInput = syn::parse_str(message).expect("a struct or an enum");
        let Ok(rtype) = Rtype::read(&input.attrs) else { panic!("a readable rtype") };
        of(&input, &rtype, None)
    }

    #[test]
    fn shapes_are_those_published() {
        // Golden texts: another text is another schema key, and nodes of the release before would
        // refuse the message.
        for (message, expected) in [
            ("struct A;", "struct->()"),
            ("struct A();", "struct()->()"),
            ("struct A {}", "struct{}->()"),
            (
                r#"#[rtype(result = "Result<i64, BankError>")] struct Deposit(i64);"#,
                "struct(i64)->Result<i64,BankError>",
            ),
            (
                "#[rtype(bool)] pub struct A { pub id: u64, #[serde(skip)] r#type: Vec<String> }",
                "struct{id:u64,#[serde(skip)]type:Vec<String>}->bool",
            ),
            (
                r#"#[serde(rename_all = "snake_case")]
                enum A { Open, #[serde(skip)] Move(i8, i8), Close { why: String }, Last = 7 }"#,
                "#[serde(rename_all=\"snake_case\")]\
                 enum{Open,#[serde(skip)]Move(i8,i8),Close{why:String},Last=7}->()",
            ),
        ] {
            assert_eq!(shape(message), expected);
        }
    }

    #[test]
    fn what_changes_no_byte_does_not_show() {
        let plain = shape(
            r#"#[serde(default, deny_unknown_fields)] #[rtype(result = "Result<u8, Bad>")]
            struct A { id: u64, tags: Vec<(u8, u16)> }"#,
        );
        for same in [
            r#"#[serde(default, deny_unknown_fields)] #[rtype(result = "Result<u8, Bad>")]
            struct Renamed { id: u64, tags: Vec<(u8, u16)> }"#,
            r#"/// Now with docs.
            #[serde(default)] #[derive(Debug)] #[serde(deny_unknown_fields,)]
            #[rtype(result = "std::result::Result<u8,Bad>")]
            #[remote(name = "a", version = 2)] #[non_exhaustive]
            pub struct A {
                /// More docs.
                pub id : u64,
                #[allow(dead_code)] pub(crate) tags: Vec<
                    (u8, u16,),
                >,
            }"#,
            r#"#[serde(default, deny_unknown_fields)] #[rtype(result = Result::<u8, Bad>)]
            struct A { r#id: u64, tags: Vec::<(u8, u16)> }"#,
        ] {
            assert_eq!(shape(same), plain);
        }
    }

    #[test]
    fn what_changes_the_bytes_shows() {
        let shapes = [
            "struct A { a: u8, b: u16 }",
            "struct A { b: u16, a: u8 }",
            "struct A { a: u8, c: u16 }",
            "struct A { a: u8, b: u32 }",
            "struct A { a: u8, b: Option<u16> }",
            "struct A { a: u8 }",
            "struct A(u8, u16);",
            "struct A((u8, u16));",
            "struct A((u8,));",
            "struct A(u8);",
            "enum A { B, C }",
            "enum A { C, B }",
            "enum A { B, C, D }",
            "enum A { B, C(u8) }",
            "enum A { B, C { a: u8 } }",
            "struct A { a: u8, #[serde(skip)] b: u16 }",
            "struct A { #[serde(skip)] a: u8, b: u16 }",
            "#[serde(transparent)] struct A { a: u8 }",
            r#"struct A { a: u8, #[serde(with = "hex")] b: u16 }"#,
            "#[rtype(u8)] struct A { a: u8, b: u16 }",
            r#"#[rtype(result = "Result<u8, Bad>")] struct A { a: u8, b: u16 }"#,
            r#"#[rtype(result = "Result<u8, Worse>")] struct A { a: u8, b: u16 }"#,
            r#"#[rtype(result = "Result<u16, Bad>")] struct A { a: u8, b: u16 }"#,
        ]
        .map(shape);
        let distinct: std::collections::BTreeSet<_> = shapes.iter().collect();
        assert_eq!(distinct.len(), shapes.len(), "{shapes:#?}");
    }
}
