// The library of certificates, loaded only when something is made or signed.
import { webcrypto } from 'node:crypto'
import type * as X509 from '@peculiar/x509'

export const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

export async function x509Library(): Promise<typeof X509> {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  return x509
}

/** PKCS#8, PEM, of an ECDSA P-256 key. */
export async function importKey(key: string): Promise<CryptoKey> {
  const der = Buffer.from(key.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')
  return (await webcrypto.subtle.importKey('pkcs8', der, keyAlgorithm, false, ['sign'])) as unknown as CryptoKey
}
