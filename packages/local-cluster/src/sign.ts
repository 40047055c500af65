// Certificates that others ask for, signed by the cluster's authority.
import type { Extension, Pkcs10CertificateRequest } from '@peculiar/x509'
import type { KeyPair } from './pki.ts'
import { importKey, keyAlgorithm, x509Library } from './x509.ts'

/** A request whose own signature is good. */
export interface ParsedRequest {
  commonName: string
  organizations: string[]
  dnsNames: string[]
  ipAddresses: string[]
  /** Mail addresses, URIs and whatever else there is. */
  otherNames: string[]
  request: Pkcs10CertificateRequest
}

/** @param pem PKCS#10. @throws Error saying what is wrong with it */
export async function parseRequest(pem: string): Promise<ParsedRequest> {
  const { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } = await x509Library()
  const request = new Pkcs10CertificateRequest(pem)
  if (!(await request.verify())) throw new Error('the signature of the request is not that of its key')
  const items = request.extensions.find((one) => one instanceof SubjectAlternativeNameExtension)?.names.items ?? []
  const named = (wanted: (type: string) => boolean): string[] =>
    items.filter(({ type }) => wanted(type)).map(({ value }) => value)
  const names = request.subjectName.getField('CN')
  if (names.length > 1) throw new Error('the subject of the request has several common names')
  return {
    commonName: names[0] ?? '',
    organizations: request.subjectName.getField('O'),
    dnsNames: named((type) => type === 'dns'),
    ipAddresses: named((type) => type === 'ip'),
    otherNames: named((type) => type !== 'dns' && type !== 'ip'),
    request,
  }
}

const backdateMs = 300_000

/** @param usages as the API names them. @returns PEM */
export async function signRequest(
  { request }: ParsedRequest,
  ca: KeyPair,
  usages: readonly string[],
  lifeMs: number,
): Promise<string> {
  const x509 = await x509Library()
  const { KeyUsageFlags, ExtendedKeyUsage } = x509
  const flags =
    (usages.includes('digital signature') ? KeyUsageFlags.digitalSignature : 0) |
    (usages.includes('key encipherment') ? KeyUsageFlags.keyEncipherment : 0)
  const extended = [
    ...(usages.includes('server auth') ? [ExtendedKeyUsage.serverAuth] : []),
    ...(usages.includes('client auth') ? [ExtendedKeyUsage.clientAuth] : []),
  ]
  const authority = new x509.X509Certificate(ca.certificate)
  const names = request.extensions.find((one) => one instanceof x509.SubjectAlternativeNameExtension)
  const extensions: Extension[] = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    await x509.AuthorityKeyIdentifierExtension.create(authority),
    ...(flags === 0 ? [] : [new x509.KeyUsagesExtension(flags, true)]),
    new x509.ExtendedKeyUsageExtension(extended),
    ...(names ? [names] : []),
  ]
  const now = Date.now()
  const certificate = await x509.X509CertificateGenerator.create({
    subject: request.subject,
    issuer: authority.subject,
    notBefore: new Date(now - backdateMs),
    notAfter: new Date(now + lifeMs),
    signingAlgorithm: keyAlgorithm,
    publicKey: await request.publicKey.export(),
    signingKey: await importKey(ca.key),
    extensions,
  })
  return `${certificate.toString('pem').trim()}\n`
}
