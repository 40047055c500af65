// The certificate that a kubelet signs itself when it is given none: `kubelet.crt` and `kubelet.key` below `pki`.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { exportKey, hostName, keyAlgorithm, type KeyPair, newKeys, validityOf, x509Library } from './x509.ts'

const day = 86_400_000
const lifeMs = 365 * day

/** What is there, or one made now when there is none, or it has ended, or is damaged. */
export async function selfSigned(folder: string, hosts: readonly string[]): Promise<KeyPair> {
  const [crt, key] = [join(folder, 'kubelet.crt'), join(folder, 'kubelet.key')]
  try {
    const found = { certificate: await readFile(crt, 'utf8'), key: await readFile(key, 'utf8') }
    if ((validityOf(found)?.notAfter ?? 0) > Date.now()) return found
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

async function save(path: string, content: string, mode: number): Promise<void> {
  await writeFile(`${path}.tmp`, content, { mode, flush: true })
  await rename(`${path}.tmp`, path)
}

async function issue([name = 'localhost', ...others]: readonly string[]): Promise<KeyPair> {
  const x509 = await x509Library()
  const keys = await newKeys()
  const { KeyUsageFlags } = x509
  const now = Date.now()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: new x509.Name([{ CN: [`${name}@${Math.floor(now / 1000)}`] }]).toString(),
    notBefore: new Date(now - 3_600_000),
    notAfter: new Date(now + lifeMs),
    signingAlgorithm: keyAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(
        KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment | KeyUsageFlags.keyCertSign,
        true,
      ),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([name, ...others].map(hostName)),
    ],
  })
  return { key: await exportKey(keys.privateKey), certificate: `${certificate.toString('pem').trim()}\n` }
}
