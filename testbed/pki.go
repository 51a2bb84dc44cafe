package testbed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// authority signs the certificates by which the libvirtds of one cluster know
// each other. It exists while Up runs and is not kept.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

const certLife = 10 * 365 * 24 * time.Hour

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certTemplate(name + " testbed CA")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key, pemText("CERTIFICATE", der)}, nil
}

// certTemplate is valid from an hour ago: hosts of a cluster never agree on the time.
func certTemplate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certLife)}
}

// issue makes a certificate, good for a server and a client, for one host.
func (a *authority) issue(name, addr string) (cert, key string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := certTemplate(name)
	template.DNSNames = []string{name}
	template.IPAddresses = []net.IP{net.ParseIP(addr)}
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", err
	}
	return pemText("CERTIFICATE", der), pemText("PRIVATE KEY", pkcs8), nil
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// pkiFiles are the certificates of one host where libvirt and QEMU look for
// them: https://libvirt.org/kbase/tlscerts.html, and /etc/pki/qemu for encrypted
// migration streams.
func pkiFiles(a *authority, name, addr string) ([]host.File, error) {
	cert, key, err := a.issue(name, addr)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	files := []host.File{
		{Name: "pki/CA/cacert.pem", Content: a.pem},
		{Name: "pki/qemu/ca-cert.pem", Content: a.pem},
	}
	for _, role := range []string{"server", "client"} {
		files = append(files,
			host.File{Name: "pki/libvirt/" + role + "cert.pem", Content: cert},
			host.File{Name: "pki/libvirt/private/" + role + "key.pem", Content: key, Mode: 0o600},
			host.File{Name: "pki/qemu/" + role + "-cert.pem", Content: cert},
			host.File{Name: "pki/qemu/" + role + "-key.pem", Content: key, Mode: 0o600})
	}
	return files, nil
}
