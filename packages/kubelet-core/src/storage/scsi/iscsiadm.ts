// What iscsiadm is asked: it and its daemon keep the sessions with targets.
import { ProgramError, runApart } from '../apart.ts'
import type { IscsiTarget } from './target.ts'
import { wayOf } from './target.ts'

/** How long it may take, in milliseconds: it gives up a portal that does not answer after some two minutes. */
const patienceMs = 180_000

/** Of a Secret of type `kubernetes.io/iscsi-chap`. */
export type ChapSecret = Readonly<Record<string, string>>

const chapKeys = ['username', 'password', 'username_in', 'password_in']

export interface Iscsiadm {
  /** How the way carries iSCSI: `tcp`, or the name of an adapter's driver. @throws Error */
  transport(): Promise<string>
  /** Makes the way that a volume has to itself. @throws Error */
  copyWay(): Promise<void>
  /** @throws Error in the words of the Go kubelet */
  login(portal: string, secret: ChapSecret): Promise<void>
  /** Forgets the portal, too. What fails is told of, and the rest is done. */
  logout(portal: string): Promise<void>
  removeWay(): Promise<void>
}

/** @param told of what failed, and is no reason to stop */
export function createIscsiadm(
  target: IscsiTarget,
  signal: AbortSignal | undefined,
  told: (error: Error) => void,
): Iscsiadm {
  const { iqn, iface, initiatorName } = target
  const way = wayOf(target)
  const run = async (...words: string[]): Promise<string> =>
    runApart('iscsiadm', words, { timeoutMs: patienceMs, signal })
  const ofWay = async (name: string, ...words: string[]): Promise<string> => run('-m', 'iface', '-I', name, ...words)
  const discovery = async (portal: string, ...words: string[]): Promise<string> =>
    run('-m', 'discoverydb', '-t', 'sendtargets', '-p', portal, '-I', way, ...words)
  const node = async (portal: string, ...words: string[]): Promise<string> =>
    run('-m', 'node', '-p', portal, '-T', iqn, '-I', way, ...words)
  const set = (key: string, value: string): string[] => ['-o', 'update', '-n', key, '-v', value]
  /** Whatever comes of it. */
  const attempt = async (work: Promise<string>): Promise<void> => {
    await work.catch((error: unknown) => {
      signal?.throwIfAborted()
      told(error as Error)
    })
  }

  /** Values stay out of what is told. */
  async function update(
    what: string,
    prefix: string,
    secret: ChapSecret,
    ask: (...words: string[]) => Promise<string>,
  ): Promise<void> {
    await ask(...set(`${prefix}.authmethod`, 'CHAP')).catch(failed(`iscsi: failed to update ${what} with CHAP`, signal))
    for (const key of chapKeys.map((name) => `${prefix}.${name}`)) {
      const value = secret[key] ?? ''
      if (value === '') continue
      await ask(...set(key, value)).catch(failed(`iscsi: failed to update ${what} key ${JSON.stringify(key)}`, signal))
    }
  }

  return {
    async transport() {
      const shown = await ofWay(iface, '-o', 'show').catch(failed(`iscsi: could not read iface ${iface}`, signal))
      return transportOf(shown) ?? fail(`iscsi: could not find transport name in iface ${iface}`)
    },
    async copyWay() {
      const shown = await ofWay(iface, '-o', 'show').catch(failed('iscsi: failed to show iface records', signal))
      // One of before is as good.
      await attempt(ofWay(way, '-o', 'new'))
      for (const [key, value] of Object.entries({ ...fieldsOf(shown), 'iface.initiatorname': initiatorName })) {
        await ofWay(way, ...set(key, value)).catch(failed(`iscsi: failed to update iface records: ${key}`, signal))
      }
    },
    async login(portal, secret) {
      await attempt(discovery(portal, '-o', 'new'))
      if (target.discoveryChap) {
        await update('discoverydb', 'discovery.sendtargets.auth', secret, async (...words) =>
          discovery(portal, ...words),
        )
      }
      await discovery(portal, '--discover').catch(async (error: unknown) => {
        await attempt(discovery(portal, '-o', 'delete'))
        failed(`iscsi: failed to sendtargets to portal ${portal}`, signal)(error)
      })
      if (target.sessionChap) {
        await update('node session', 'node.session.auth', secret, async (...words) => node(portal, ...words))
      }
      await node(portal, '--login').catch(async (error: unknown) => {
        // Others may have it by now, or a login that was cut short.
        if (isThere(error)) return
        await attempt(node(portal, '-o', 'delete'))
        failed('iscsi: failed to attach disk', signal)(error)
      })
      // What starts with the machine would wait for the target then.
      await attempt(node(portal, ...set('node.startup', 'manual')))
    },
    async logout(portal) {
      await attempt(node(portal, '--logout'))
      await attempt(node(portal, '-o', 'delete'))
    },
    async removeWay() {
      if (initiatorName !== '') await attempt(ofWay(way, '-o', 'delete'))
    },
  }
}

/** `ISCSI_ERR_SESS_EXISTS` */
const isThere = (error: unknown): boolean => error instanceof ProgramError && error.message === 'exit status 15'

function failed(what: string, signal: AbortSignal | undefined): (cause: unknown) => never {
  return (cause) => {
    signal?.throwIfAborted()
    const { message } = cause as Error
    const output = cause instanceof ProgramError ? cause.output.trim() : ''
    throw new Error(`${what} output: ${output}, err ${message}`, { cause })
  }
}

function fail(message: string): never {
  throw new Error(message)
}

/** Undefined: the record of the way is of another form. Pure. */
export function transportOf(shown: string): string | undefined {
  const found = /^iface\.transport_name = (.*)$/m.exec(shown)?.[1]?.trim()
  return found === '<empty>' ? 'tcp' : found || undefined
}

/** What is set of a way, by the names of fields, save its own name. Pure. */
export function fieldsOf(shown: string): Record<string, string> {
  const lines = shown.split('\n').map((line) => /^(iface\.\S+) = (\S+)$/.exec(line.trim()))
  const set = lines.flatMap((found) => (found ? [[found[1] ?? '', found[2] ?? '']] : []))
  return Object.fromEntries(set.filter(([key, value]) => key !== 'iface.iscsi_ifacename' && value !== '<empty>'))
}
