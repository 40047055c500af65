// The credentials of a connection, kept fresh: files are read again each minute, exec plugins run when theirs expire.

import { readFile } from 'node:fs/promises'
import { KubeconfigError } from './errors.ts'
import { runExecPlugin } from './exec-plugin.ts'
import type { ExecCredential } from './exec-plugin.ts'
import type { KubeConnection, PemSource } from './connection.ts'

/** What a TLS connection is made with. */
export interface TlsMaterial {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** What one request is sent with. */
export interface RequestCredentials {
  readonly tls: TlsMaterial
  readonly headers: Readonly<Record<string, string>>
}

/** Gives the credentials of the moment. */
export interface CredentialSource {
  /** @throws KubeconfigError when a file cannot be read or a plugin fails */
  current(): Promise<RequestCredentials>
  /** Forgets what is remembered, after the server said 401. False when nothing can become better by it. */
  refresh(): boolean
}

/** How long what a file said is believed, in milliseconds: as in client-go. */
const FILE_AGE_MS = 60_000

/**
 * Makes the source for a connection.
 * @param now the clock in milliseconds; default `Date.now`
 */
export const credentialSource = (connection: KubeConnection, now: () => number = Date.now): CredentialSource => {
  const files = new Map<string, { content: string; read: number }>()
  let credential: Promise<ExecCredential> | undefined

  const contentOf = async (file: string, what: string): Promise<string> => {
    const known = files.get(file)
    if (known && now() - known.read < FILE_AGE_MS) return known.content
    try {
      const content = await readFile(file, 'utf8')
      files.set(file, { content, read: now() })
      return content
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new KubeconfigError(`${what} ${file} cannot be read: ${why}`, { cause })
    }
  }
  const pem = async (source: PemSource | undefined, what: string): Promise<string | undefined> =>
    source && ('pem' in source ? source.pem : contentOf(source.file, what))

  const tokenOfFile = async (file: string): Promise<string> => {
    const token = (await contentOf(file, 'token file')).trim()
    if (token === '') throw new KubeconfigError(`token file ${file} is empty`)
    return token
  }

  const fromPlugin = async (): Promise<ExecCredential> => {
    if (!connection.exec) return {}
    // One run at a time; who comes meanwhile waits for the same answer, so that no caller's signal may end it.
    credential ??= runExecPlugin(connection.exec)
    const mine = credential
    const forget = (): void => {
      if (credential === mine) credential = undefined
    }
    try {
      const answer = await mine
      if (answer.expires === undefined || answer.expires > now()) return answer
    } catch (error) {
      forget()
      throw error
    }
    forget()
    credential ??= runExecPlugin(connection.exec)
    return credential
  }

  const token = async (plugin: ExecCredential): Promise<string | undefined> => {
    if (connection.tokenFile === undefined) return connection.token ?? plugin.token
    try {
      return await tokenOfFile(connection.tokenFile)
    } catch (error) {
      // As in client-go: the inline token serves while the file cannot be read.
      if (connection.token !== undefined) return connection.token
      throw error
    }
  }

  return {
    async current() {
      const plugin = await fromPlugin()
      const [ca, cert, key, bearer] = await Promise.all([
        pem(connection.ca, 'certificate authority'),
        pem(connection.clientCertificate, 'client certificate'),
        pem(connection.clientKey, 'client key'),
        token(plugin),
      ])
      const { basic, impersonate } = connection
      const authorization = bearer
        ? `Bearer ${bearer}`
        : basic && `Basic ${Buffer.from(`${basic.username}:${basic.password}`).toString('base64')}`
      const tlsCert = cert ?? plugin.clientCertificate
      const tlsKey = key ?? plugin.clientKey
      return {
        tls: { ...(ca && { ca }), ...(tlsCert && { cert: tlsCert }), ...(tlsKey && { key: tlsKey }) },
        headers: {
          ...(authorization && { authorization }),
          ...(impersonate && { 'impersonate-user': impersonate }),
        },
      }
    },
    refresh() {
      const useful = credential !== undefined || files.size > 0
      credential = undefined
      files.clear()
      return useful
    },
  }
}
