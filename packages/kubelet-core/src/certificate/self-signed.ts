// The certificate that a kubelet signs itself when it is given none: `kubelet.crt` and `kubelet.key` below `pki`.
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'

/** A certificate with its key, PEM. */
export interface KeyPair {
  certificate: string
  key: string
}

const day = 86_400_000
const lifeMs = 365 * day

/** What is there, or one made now when there is none, or it has ended, or is damaged. */
export async function selfSigned(folder: string, hosts: readonly string[]): Promise<KeyPair> {
  const [crt, key] = [join(folder, 'kubelet.crt'), join(folder, 'kubelet.key')]
  try {
    const found = { certificate: await readFile(crt, 'utf8'), key: await readFile(key, 'utf8') }
    if (fits(found)) return found
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const made = await issue(hosts)
  await mkdir(folder, { recursive: true, mode: 0o750 })
  // A pair cut in half does not fit, and is made anew.
  await save(key, made.key, 0o600)
  await save(crt, made.certificate, 0o644)
  return made
}

function fits({ certificate, key }: KeyPair): boolean {
  try {
    const parsed = new X509Certificate(certificate)
    return Date.parse(parsed.validTo) > Date.now() && parsed.checkPrivateKey(createPrivateKey(key))
  } catch {
    return false // damaged
  }
}

async function save(path: string, content: string, mode: number): Promise<void> {
  await writeFile(`${path}.tmp`, content, { mode, flush: true })
  await rename(`${path}.tmp`, path)
}

/** The library is loaded only when something is made. */
async function issue([name = 'localhost', ...others]: readonly string[]): Promise<KeyPair> {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  x509.cryptoProvider.set(webcrypto as unknown as Crypto)
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as {
    publicKey: CryptoKey
    privateKey: CryptoKey
  }
  const { KeyUsageFlags } = x509
  const now = Date.now()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: new x509.Name([{ CN: [`${name}@${Math.floor(now / 1000)}`] }]).toString(),
    notBefore: new Date(now - 3_600_000),
    notAfter: new Date(now + lifeMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(
        KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment | KeyUsageFlags.keyCertSign,
        true,
      ),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        [name, ...others].map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value })),
      ),
    ],
  })
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64')
  const key = `-----BEGIN PRIVATE KEY-----\n${(der.match(/.{1,64}/g) ?? []).join('\n')}\n-----END PRIVATE KEY-----\n`
  return { key, certificate: `${certificate.toString('pem').trim()}\n` }
}
