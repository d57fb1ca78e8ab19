//! Members talk over TLS, and nobody else is heard.

use async_trait::async_trait;
use base::Shutdown;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;
use std::time::Duration;
use store_raft::tls::{Peer, TlsTransport, listen};
use store_raft::{Answer, MemberId, Transport, TransportError};
use tokio::net::TcpListener;

struct Echo;

#[async_trait]
impl Answer for Echo {
    async fn answer(&self, from: MemberId, request: Bytes) -> Bytes {
        // The first of two requests is answered last.
        if request.starts_with(b"slow") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        [format!("{from}:").as_bytes(), &request].concat().into()
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: &Authority) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["member".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().der().clone();
    (
        vec![certificate],
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    Arc::new(roots)
}

fn transport(address: &str, trusted: &Authority, own: &Authority) -> TlsTransport {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (chain, key) = issue(own);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(trusted))
        .with_client_auth_cert(chain, key)
        .unwrap();
    let peer = Peer {
        address: address.to_owned(),
        name: ServerName::try_from("member").unwrap(),
    };
    TlsTransport::new(7, [(1, peer)].into(), Arc::new(config))
}

#[tokio::test]
async fn requests_share_a_connection_and_strangers_are_not_heard() {
    let (group, stranger) = (authority(), authority());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots(&group), provider.clone());
    let (chain, key) = issue(&group);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = Shutdown::new();
    let listening = tokio::spawn(listen(
        listener,
        Arc::new(config),
        Arc::new(Echo),
        shutdown.clone(),
    ));
    let patience = Duration::from_secs(5);

    let member = transport(&address, &group, &group);
    let (slow, quick) = futures::join!(
        member.call(1, Bytes::from_static(b"slow"), patience),
        member.call(1, Bytes::from_static(b"quick"), Duration::from_millis(190))
    );
    assert_eq!(
        (&slow.unwrap()[..], &quick.unwrap()[..]),
        (&b"7:slow"[..], &b"7:quick"[..])
    );
    let large = Bytes::from(vec![1; 3 << 20]);
    assert_eq!(
        member.call(1, large.clone(), patience).await.unwrap().len(),
        large.len() + 2
    );
    assert!(matches!(
        member.call(2, large, patience).await,
        Err(TransportError::Unreachable(2, _))
    ));

    let outsider = transport(&address, &group, &stranger);
    assert!(
        outsider
            .call(1, Bytes::from_static(b"let me in"), patience)
            .await
            .is_err()
    );
    let misled = transport(&address, &stranger, &group);
    assert!(matches!(
        misled.call(1, Bytes::new(), patience).await,
        Err(TransportError::Unreachable(1, _))
    ));

    shutdown.trigger();
    listening.await.unwrap();
    assert!(
        member
            .call(1, Bytes::from_static(b"anyone?"), Duration::from_secs(1))
            .await
            .is_err()
    );
}
