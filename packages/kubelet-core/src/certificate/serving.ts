// What the kubelet's server shows, and whom it believes: from files that may change while it runs.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Logger } from '../log.ts'
import type { KeyPair } from './x509.ts'

/** PEM texts. */
export interface Serving extends KeyPair {
  clientCa?: string | undefined
}

/** Where it comes from. An empty path is none. */
export interface ServingSources {
  /** KubeletConfiguration `tlsCertFile` and `tlsPrivateKeyFile`; without them `own` is asked. */
  tlsCertFile: string
  tlsPrivateKeyFile: string
  /** KubeletConfiguration `authentication.x509.clientCAFile`. */
  clientCAFile: string
  /** The pair when there are no files of it. */
  own(): Promise<KeyPair>
  /** The authority when there is no file of it, PEM. */
  clientCa?: string | undefined
}

/** @throws Error naming the file that cannot be read or does not fit */
export async function readServing(sources: ServingSources): Promise<Serving> {
  const { tlsCertFile, tlsPrivateKeyFile, clientCAFile } = sources
  const pair =
    tlsCertFile && tlsPrivateKeyFile
      ? {
          certificate: await readPem(tlsCertFile, 'tlsCertFile'),
          key: await readPem(tlsPrivateKeyFile, 'tlsPrivateKeyFile'),
        }
      : await sources.own()
  const clientCa = clientCAFile ? await readPem(clientCAFile, 'authentication.x509.clientCAFile') : sources.clientCa
  if (clientCa !== undefined && clientCAFile) parsed(clientCa, 'authentication.x509.clientCAFile', clientCAFile)
  if (tlsCertFile && tlsPrivateKeyFile) checkPair(pair, tlsCertFile, tlsPrivateKeyFile)
  return { ...pair, ...(clientCa !== undefined && { clientCa }) }
}

/** Calls back with what the files say once they have changed and fit together; until then the former stays. */
export function watchServing(sources: ServingSources, changed: (serving: Serving) => void, log: Logger): Disposable {
  const paths = [sources.tlsCertFile, sources.tlsPrivateKeyFile, sources.clientCAFile].filter((path) => path !== '')
  const watchers: FSWatcher[] = []
  let timer: NodeJS.Timeout | undefined
  let closed = false
  const look = async (): Promise<void> => {
    try {
      const serving = await readServing(sources)
      if (!closed) changed(serving)
    } catch (error) {
      log.warn({ err: error }, 'certificates of the server have changed and do not fit: the former ones stay')
    }
  }
  // Folders, not files: certificates are replaced by renaming, or by a link of their folder.
  for (const folder of new Set(paths.map((path) => dirname(path)))) {
    const watcher = watch(folder, () => {
      clearTimeout(timer)
      timer = setTimeout(() => void look(), settleMs)
    })
    watcher.on('error', (error) => log.warn({ err: error, folder }, 'certificates of the server are no longer watched'))
    watchers.push(watcher)
  }
  return {
    [Symbol.dispose]: () => {
      closed = true
      clearTimeout(timer)
      for (const watcher of watchers) watcher.close()
    },
  }
}

/** Certificate and key are two files: both are to be there before they are read. */
const settleMs = 200

async function readPem(path: string, field: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new Error(`${field} ${path}: cannot be read: ${(cause as Error).message}`, { cause })
  }
}

function parsed(pem: string, field: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new Error(`${field} ${path}: has no certificate: ${(cause as Error).message}`, { cause })
  }
}

function checkPair({ certificate, key }: KeyPair, certFile: string, keyFile: string): void {
  const shown = parsed(certificate, 'tlsCertFile', certFile)
  let matches: boolean
  try {
    matches = shown.checkPrivateKey(createPrivateKey(key))
  } catch (cause) {
    throw new Error(`tlsPrivateKeyFile ${keyFile}: has no private key: ${(cause as Error).message}`, { cause })
  }
  if (!matches) throw new Error(`tlsPrivateKeyFile ${keyFile}: is not the key of tlsCertFile ${certFile}`)
}
