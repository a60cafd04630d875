//! The stock of a shop, as a plain actix program.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::Duration,
};

use actix::{clock::sleep, prelude::*};

/// Takes goods for good; answers how many are left, or how few there were.
#[derive(Message)]
#[rtype(result = "Result<u32, u32>")]
struct Take(&'static str, u32);

/// Takes goods, and has them back after a moment; answers how many are left.
#[derive(Message)]
#[rtype(result = "Result<u32, u32>")]
struct Reserve(&'static str, u32);

/// How many there are now.
#[derive(Message)]
#[rtype(result = "u32")]
pub(crate) struct Count(pub(crate) String);

/// Orders more, and answers how many there are once they have come.
#[derive(Message)]
#[rtype(result = "u32")]
struct Restock(&'static str);

#[derive(Message)]
#[rtype(result = "()")]
struct Close;

/// For the supplier; answers how many come.
#[derive(Message)]
#[rtype(result = "u32")]
struct Order;

pub(crate) struct Stock {
    shelves: BTreeMap<&'static str, u32>,
    ordered: BTreeSet<&'static str>,
    supplier: Addr<Supplier>,
}

impl Stock {
    pub(crate) fn new(supplier: Addr<Supplier>) -> Self {
        let shelves = BTreeMap::from([("bolts", 10), ("nuts", 10)]);
        Self { shelves, ordered: BTreeSet::new(), supplier }
    }

    fn take(&mut self, article: &str, count: u32) -> Result<u32, u32> {
        let shelf = self.shelves.get_mut(article).ok_or(0u32)?;
        *shelf = shelf.checked_sub(count).ok_or(*shelf)?;
        Ok(*shelf)
    }

    fn put(&mut self, article: &'static str, count: u32) -> u32 {
        let shelf = self.shelves.entry(article).or_default();
        *shelf += count;
        *shelf
    }

    /// Orders what has become rare, once each.
    fn look(&mut self, ctx: &mut <Self as Actor>::Context) {
        for (article, count) in &self.shelves {
            if *count < 3 && self.ordered.insert(article) {
                ctx.notify(Restock(article));
            }
        }
    }
}

impl Actor for Stock {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_millis(5), Self::look);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        println!("closed with {} pieces", self.shelves.values().sum::<u32>());
    }
}

impl Handler<Take> for Stock {
    type Result = Result<u32, u32>;

    fn handle(&mut self, Take(article, count): Take, _: &mut Self::Context) -> Self::Result {
        self.take(article, count)
    }
}

impl Handler<Reserve> for Stock {
    type Result = Result<u32, u32>;

    fn handle(
        &mut self,
        Reserve(article, count): Reserve,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let left = self.take(article, count)?;
        ctx.run_later(Duration::from_millis(20), move |stock, _| {
            stock.put(article, count);
        });
        Ok(left)
    }
}

impl Handler<Count> for Stock {
    type Result = u32;

    fn handle(&mut self, Count(article): Count, _: &mut Self::Context) -> u32 {
        self.shelves[article.as_str()]
    }
}

impl Handler<Restock> for Stock {
    type Result = ResponseActFuture<Self, u32>;

    fn handle(&mut self, Restock(article): Restock, _: &mut Self::Context) -> Self::Result {
        let order = self.supplier.send(Order).into_actor(self);
        Box::pin(order.map(move |delivered, stock, _| {
            stock.ordered.remove(article);
            stock.put(article, delivered.unwrap_or_default())
        }))
    }
}

impl Handler<Close> for Stock {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

pub(crate) struct Supplier;

impl Actor for Supplier {
    type Context = Context<Self>;
}

impl Handler<Order> for Supplier {
    type Result = ResponseFuture<u32>;

    fn handle(&mut self, _: Order, _: &mut Self::Context) -> Self::Result {
        Box::pin(async {
            sleep(Duration::from_millis(5)).await;
            20
        })
    }
}

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let supplier = Supplier.start();
    let stock = Stock::new(supplier).start();

    println!("took 4 bolts: {:?} left", stock.send(Take("bolts", 4)).await?);
    println!("reserved 2 bolts: {:?} left", stock.send(Reserve("bolts", 2)).await?);
    println!("took 5 bolts: {:?} left", stock.send(Take("bolts", 5)).await?);
    until(&stock, "bolts", 6).await?;
    println!("the reservation has lapsed: 6 bolts");

    stock.do_send(Take("nuts", 9));
    until(&stock, "nuts", 21).await?;
    println!("nuts were rare, and ordered: 21 nuts");
    println!("and once more: {} nuts", stock.send(Restock("nuts")).await?);

    stock.do_send(Close);
    while stock.connected() {
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Waits until there are so many.
async fn until(stock: &Addr<Stock>, article: &str, count: u32) -> Result<(), MailboxError> {
    while stock.send(Count(article.to_owned())).await? != count {
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
