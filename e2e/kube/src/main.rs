//! `fake-kube ADDRESS KUBECONFIG`: serves until it is killed. The kubeconfig is written for the user `weir`, and beside it, with the
//! ending `.admin`, for `admin`.

use std::io::Write as _;

use weir_fake_kube::{Fake, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("usage: fake-kube ADDRESS KUBECONFIG"));
    };
    let fake = Fake::start_at(&address, Options::default()).await?;
    std::fs::write(&path, fake.kubeconfig("weir"))?;
    std::fs::write(format!("{path}.admin"), fake.kubeconfig("admin"))?;
    writeln!(std::io::stdout(), "fake-kube is ready: {}", fake.url())?;
    std::future::pending::<()>().await;
    Ok(())
}
