// Keys and requests for certificates, PEM. The library is loaded only when something is made.
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type * as X509 from '@peculiar/x509'
import { pemOf } from './pem.ts'

/** A certificate with its key, PEM. */
export interface KeyPair {
  certificate: string
  key: string
}

export const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

export async function x509Library(): Promise<typeof X509> {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  return x509
}

interface Keys {
  publicKey: CryptoKey
  privateKey: CryptoKey
}

export async function newKeys(): Promise<Keys> {
  return (await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])) as Keys
}

/** PKCS#8, PEM. */
export async function exportKey(key: CryptoKey): Promise<string> {
  return pemOf('PRIVATE KEY', Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)))
}

/** @param pem of an ECDSA P-256 key, PKCS#8 or SEC1. @throws Error when it is another, or none */
async function importKeys(pem: string): Promise<Keys> {
  const privateKey = createPrivateKey(pem)
  const d = privateKey.export({ format: 'jwk' })
  const { d: _, ...open } = d
  const load = async (jwk: object, usage: 'sign' | 'verify'): Promise<CryptoKey> =>
    (await webcrypto.subtle.importKey('jwk', jwk, keyAlgorithm, true, [usage])) as CryptoKey
  return { privateKey: await load(d, 'sign'), publicKey: await load(open, 'verify') }
}

export interface Subject {
  commonName: string
  organization: string
  /** DNS names and IP addresses of a server; none for a client. */
  hosts?: readonly string[]
}

/** PKCS#10, PEM. @param key PEM */
export async function makeRequest(key: string, { commonName, organization, hosts = [] }: Subject): Promise<string> {
  const x509 = await x509Library()
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: new x509.Name([{ O: [organization] }, { CN: [commonName] }]).toString(),
    keys: await importKeys(key),
    signingAlgorithm: keyAlgorithm,
    extensions: hosts.length > 0 ? [new x509.SubjectAlternativeNameExtension(hosts.map(hostName))] : [],
  })
  return `${request.toString('pem').trim()}\n`
}

export const hostName = (value: string): { type: 'ip' | 'dns'; value: string } => ({
  type: isIP(value) ? 'ip' : 'dns',
  value,
})

/** When the certificate is good, in milliseconds since the epoch; undefined when it is none, or the key is another's. */
export function validityOf({ certificate, key }: KeyPair): { notBefore: number; notAfter: number } | undefined {
  try {
    const parsed = new X509Certificate(certificate)
    if (!parsed.checkPrivateKey(createPrivateKey(key))) return undefined
    return { notBefore: Date.parse(parsed.validFrom), notAfter: Date.parse(parsed.validTo) }
  } catch {
    return undefined // damaged
  }
}

/** Whether a server of these names and addresses, and of no others, may show the certificate. */
export function isFor(certificate: string, hosts: readonly string[]): boolean {
  try {
    const parsed = new X509Certificate(certificate)
    const shown = new Set(parsed.subjectAltName?.split(', '))
    return (
      shown.size === new Set(hosts).size &&
      hosts.every((host) => (isIP(host) ? parsed.checkIP(host) : parsed.checkHost(host)) !== undefined)
    )
  } catch {
    return false
  }
}
