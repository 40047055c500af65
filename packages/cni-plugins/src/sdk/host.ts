// The machine as a plugin sees it that is a program of its own.
import { realpathSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Host, Plugin } from '../types.ts'

/** Other plugins that are the same program by another name. */
export type Siblings = Readonly<Record<string, () => Promise<Plugin>>>

/** What only some plugins need is loaded when it is used. */
export function programHost(env: Readonly<Record<string, string | undefined>>, siblings: Siblings = {}): Host {
  const binDirs = (env['CNI_PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  let rules: Promise<Pick<Host, 'changeRules' | 'settleRules'>> | undefined
  const changes: Parameters<Host['changeRules']>[] = []
  return {
    addressDir: '/var/lib/cni/networks',
    log: { warn: (fields, message) => console.error(message, fields) },
    changeRules: (backend, change) => void changes.push([backend, change]),
    settleRules: async (signal) => {
      if (changes.length === 0) return
      rules ??= openRules()
      const { changeRules, settleRules } = await rules
      for (const change of changes.splice(0)) changeRules(...change)
      await settleRules(signal)
    },
    plugin: (type) =>
      laterPlugin(async () => {
        const sibling = siblings[type]
        // What the runtime would start is this program: that takes far longer than to do its work here.
        if (sibling && isThisProgram(type, binDirs)) return sibling()
        const { executablePlugin } = await import('../libcni/executable.ts')
        return executablePlugin(type, binDirs)
      }),
  }
}

function isThisProgram(type: string, binDirs: readonly string[]): boolean {
  const path = binDirs
    .map((folder) => join(folder, type))
    .find((one) => statSync(one, { throwIfNoEntry: false })?.isFile())
  return path !== undefined && realpathSync(path) === realpathSync(process.argv[1] ?? '')
}

async function openRules(): Promise<Pick<Host, 'changeRules' | 'settleRules'>> {
  const [{ createRules }, { createNftables }, { collectRules }] = await Promise.all([
    import('../iptables.ts'),
    import('../nftables.ts'),
    import('../pod-rules.ts'),
  ])
  return collectRules({
    4: createRules(4, undefined),
    6: createRules(6, undefined),
    nftables: createNftables(undefined),
  })
}

/** A plugin that is loaded when it is called. */
function laterPlugin(load: () => Promise<Plugin>): Plugin {
  return {
    versions: async (...call) => (await load()).versions(...call),
    add: async (...call) => (await load()).add(...call),
    check: async (...call) => (await load()).check(...call),
    del: async (...call) => (await load()).del(...call),
    gc: async (...call) => (await load()).gc(...call),
    status: async (...call) => (await load()).status(...call),
  }
}
