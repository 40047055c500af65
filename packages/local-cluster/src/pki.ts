// The cluster's certificates: made once, kept, and made anew when they end or do not fit.
import { createPublicKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { importKey, keyAlgorithm, x509Library } from './x509.ts'

/** A certificate with its key, PEM. */
export interface KeyPair {
  certificate: string
  key: string
}

export interface Pki {
  ca: KeyPair
  apiServer: KeyPair
  /** The API server as a client of kubelets. */
  kubeletClient: KeyPair
  /** A kubelet's server. */
  kubeletServer: KeyPair
  admin: KeyPair
  kubelet: KeyPair
  proxy: KeyPair
  /** Signs tokens of service accounts. */
  tokens: { publicKey: string; privateKey: string }
}

export interface PkiOptions {
  folder: string
  nodeName: string
  nodeIPs: readonly string[]
  /** The first address of Services: pods know the API server by it. */
  serviceIP: string
  address: string
}

interface Wanted {
  file: string
  name: string
  organization?: string
  /** DNS names and IP addresses of a server; none for a client. */
  hosts?: readonly string[]
}

const day = 86_400_000
const lifeMs = 3650 * day
/** A certificate is made anew when less than this is left. */
const marginMs = 30 * day

/** Reads what is there and makes what is missing. Files are whole or not there. */
export async function openPki({ folder, nodeName, nodeIPs, serviceIP, address }: PkiOptions): Promise<Pki> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const ca = await openCa(folder)
  const apiHosts = [
    'localhost',
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
    nodeName,
    ...new Set(['127.0.0.1', address, serviceIP, ...nodeIPs]),
  ]
  const pair = async (wanted: Wanted): Promise<KeyPair> => openPair(folder, ca, wanted)
  const masters = 'system:masters'
  const nodeUser = `system:node:${nodeName}`
  return {
    ca,
    apiServer: await pair({ file: 'apiserver', name: 'kube-apiserver', hosts: apiHosts }),
    kubeletClient: await pair({
      file: 'apiserver-kubelet-client',
      name: 'kube-apiserver-kubelet-client',
      organization: masters,
    }),
    kubeletServer: await pair({
      file: 'kubelet',
      name: nodeUser,
      organization: 'system:nodes',
      hosts: [nodeName, ...new Set([...nodeIPs, '127.0.0.1'])],
    }),
    admin: await pair({ file: 'admin', name: 'kubernetes-admin', organization: masters }),
    kubelet: await pair({ file: 'kubelet-client', name: nodeUser, organization: 'system:nodes' }),
    proxy: await pair({ file: 'kube-proxy', name: 'system:kube-proxy' }),
    tokens: await openTokenKeys(folder),
  }
}

async function save(path: string, content: string, mode = 0o600): Promise<void> {
  const temporary = `${path}.tmp`
  await writeFile(temporary, content, { mode, flush: true })
  await rename(temporary, path)
}

/** Key and certificate are one file, so that they always belong together. */
async function readPair(path: string): Promise<KeyPair | undefined> {
  if (!existsSync(path)) return undefined
  const text = await readFile(path, 'utf8')
  const key = /-----BEGIN PRIVATE KEY-----[\s\S]*?-----END PRIVATE KEY-----\n/.exec(text)?.[0]
  const certificate = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/.exec(text)?.[0]
  return key && certificate ? { key, certificate } : undefined
}

async function openCa(folder: string): Promise<KeyPair> {
  const path = join(folder, 'ca.pem')
  const found = await readPair(path)
  const isGood = found !== undefined && fits(found, found, { file: 'ca', name: 'kubernetes' })
  const ca = isGood ? found : await issue({ file: 'ca', name: 'kubernetes' })
  if (!isGood) await save(path, ca.key + ca.certificate)
  if (!isGood || !existsSync(join(folder, 'ca.crt'))) await save(join(folder, 'ca.crt'), ca.certificate, 0o644)
  return ca
}

async function openPair(folder: string, ca: KeyPair, wanted: Wanted): Promise<KeyPair> {
  const path = join(folder, `${wanted.file}.pem`)
  const found = await readPair(path)
  if (found && fits(found, ca, wanted)) return found
  const made = await issue(wanted, ca)
  await save(path, made.key + made.certificate)
  return made
}

function fits({ certificate }: KeyPair, ca: KeyPair, { name, organization, hosts = [] }: Wanted): boolean {
  let parsed: X509Certificate
  try {
    parsed = new X509Certificate(certificate)
  } catch {
    return false // it is damaged: another is made
  }
  const subject = [...(organization === undefined ? [] : [`O=${organization}`]), `CN=${name}`]
  return (
    parsed.subject === subject.join('\n') &&
    Date.parse(parsed.validTo) - Date.now() > marginMs &&
    parsed.verify(createPublicKey(ca.certificate)) &&
    hosts.every((host) => (isIP(host) ? parsed.checkIP(host) : parsed.checkHost(host)) !== undefined)
  )
}

/** Signed by the CA; without one, the CA itself. */
async function issue({ name, organization, hosts }: Wanted, ca?: KeyPair): Promise<KeyPair> {
  const x509 = await x509Library()
  const keys = (await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])) as {
    publicKey: CryptoKey
    privateKey: CryptoKey
  }
  const { KeyUsageFlags } = x509
  const usage = ca
    ? [
        new x509.BasicConstraintsExtension(false, undefined, true),
        // Strict clients want to know which key has signed.
        await x509.AuthorityKeyIdentifierExtension.create(new x509.X509Certificate(ca.certificate)),
        new x509.KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
        new x509.ExtendedKeyUsageExtension([
          hosts ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth,
        ]),
        ...(hosts
          ? [
              new x509.SubjectAlternativeNameExtension(
                hosts.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value })),
              ),
            ]
          : []),
      ]
    : [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(
          KeyUsageFlags.keyCertSign | KeyUsageFlags.digitalSignature | KeyUsageFlags.cRLSign,
          true,
        ),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ]
  const subject = [...(organization ? [{ O: [organization] }] : []), { CN: [name] }]
  const signer = ca && (await importKey(ca.key))
  const common = {
    subject: new x509.Name(subject).toString(),
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + lifeMs),
    signingAlgorithm: keyAlgorithm,
    extensions: usage,
  }
  const certificate = ca
    ? await x509.X509CertificateGenerator.create({
        ...common,
        issuer: new x509.X509Certificate(ca.certificate).subject,
        publicKey: keys.publicKey,
        signingKey: signer as CryptoKey,
      })
    : await x509.X509CertificateGenerator.createSelfSigned({ ...common, name: common.subject, keys })
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  return { key: pem('PRIVATE KEY', key), certificate: `${certificate.toString('pem').trim()}\n` }
}

const pem = (label: string, der: Buffer): string =>
  `-----BEGIN ${label}-----\n${(der.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END ${label}-----\n`

async function openTokenKeys(folder: string): Promise<Pki['tokens']> {
  const path = join(folder, 'sa.key')
  if (existsSync(path)) {
    const privateKey = await readFile(path, 'utf8')
    return { privateKey, publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString() }
  }
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const privateKey = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  await save(path, privateKey)
  return { privateKey, publicKey: keys.publicKey.export({ type: 'spki', format: 'pem' }).toString() }
}
