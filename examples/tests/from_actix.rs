//! Moving a program over from actix changes these lines of it, and no others.

/// What is in one text and not in the other, both ways, in order.
fn difference<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    // How many lines are common to what is left of both.
    let mut common = vec![vec![0; after.len() + 1]; before.len() + 1];
    for (i, old) in before.iter().enumerate().rev() {
        for (j, new) in after.iter().enumerate().rev() {
            common[i][j] = match old == new {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut gone, mut come) = (0, 0, Vec::new(), Vec::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < before.len() && (j == after.len() || common[i + 1][j] >= common[i][j + 1]) {
            gone.push(before[i]);
            i += 1;
        } else {
            come.push(after[j]);
            j += 1;
        }
    }
    (gone, come)
}

#[test]
fn the_moved_program_differs_in_what_must_change_and_nothing_else() {
    let before = include_str!("../from_actix/before.rs");
    let after = include_str!("../from_actix/after.rs");
    let (gone, come) = difference(before, after);
    let expected = [
        "//! The stock of a shop, as a plain actix program.",
        "#[derive(Message)]",
        "    type Context = Context<Self>;",
        "    type Context = Context<Self>;",
        "    let supplier = Supplier.start();",
        "    let stock = Stock::new(supplier).start();",
    ];
    assert_eq!(gone, expected);
    let expected = [
        "//! The stock of a shop, moved over: only what must change has changed.",
        "use actix_cluster::{ClusterContext, Node, RemoteActor, RemoteMessage};",
        "use serde::{Deserialize, Serialize};",
        "#[derive(Message, RemoteMessage, Serialize, Deserialize)]",
        r#"#[remote(name = "shop.Count", version = 1)]"#,
        "#[derive(RemoteActor)]",
        r#"#[remote(name = "shop.Stock", handles(Count))]"#,
        "    type Context = ClusterContext<Self>;",
        "#[derive(RemoteActor)]",
        r#"#[remote(name = "shop.Supplier", handles())]"#,
        "    type Context = ClusterContext<Self>;",
        "    let node = Node::builder().start().await?;",
        "    let (_, supplier) = node.spawn(|_| Supplier).start_with_addr()?;",
        "    let (_, stock) = node.spawn(move |_| Stock::new(supplier.clone())).start_with_addr()?;",
        "    node.shutdown().await;",
    ];
    assert_eq!(come, expected);
}
