// Certificates with their keys on disk: dated files, and a link to the newest, as the Go kubelet has them.
import { mkdir, open, readdir, readlink, rename, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { readIfThere } from '../files.ts'
import type { KeyPair } from './x509.ts'

export interface CertificateStore {
  /** `NAME-current.pem`. */
  readonly path: string
  /** Undefined when there is none, or it is damaged. */
  read(): Promise<KeyPair | undefined>
  /** Whole or not at all. Files before the former one are removed. */
  write(pair: KeyPair, nowMs: number): Promise<void>
}

/** @param name `kubelet-client` or `kubelet-server` */
export function certificateStore(folder: string, name: string): CertificateStore {
  const path = join(folder, `${name}-current.pem`)
  return {
    path,
    async read() {
      const text = await readIfThere(path)
      return text === undefined ? undefined : pairIn(text)
    },
    async write({ certificate, key }, nowMs) {
      await mkdir(folder, { recursive: true, mode: 0o750 })
      // The first has no former; nor has a name that is no link, which is replaced.
      const former = await readlink(path).catch(() => undefined)
      const time = new Date(nowMs).toISOString().slice(0, 19).replaceAll(/[T:]/g, '-')
      const file = join(folder, `${name}-${time}.pem`)
      const handle = await open(file, 'w', 0o600)
      try {
        await handle.writeFile(certificate + key)
        await handle.sync()
      } finally {
        await handle.close()
      }
      const link = join(folder, `${name}-updated.pem`)
      await rm(link, { force: true })
      await symlink(file, link)
      await rename(link, path)
      await removeOlder(folder, name, [file, former])
    },
  }
}

/** Certificate and key of one PEM text. */
export function pairIn(text: string): KeyPair | undefined {
  const blocks = (kind: string): string[] =>
    text.match(new RegExp(`-----BEGIN ${kind}-----[\\s\\S]*?-----END ${kind}-----\\n?`, 'g')) ?? []
  const [key] = blocks('(?:EC |RSA )?PRIVATE KEY')
  const certificate = blocks('CERTIFICATE').join('')
  return key !== undefined && certificate !== '' ? { certificate, key } : undefined
}

async function removeOlder(folder: string, name: string, kept: readonly (string | undefined)[]): Promise<void> {
  const dated = new RegExp(`^${name}-\\d{4}(-\\d\\d){5}\\.pem$`)
  for (const entry of await readdir(folder)) {
    const path = join(folder, entry)
    if (dated.test(entry) && !kept.includes(path)) await rm(path, { force: true })
  }
}
