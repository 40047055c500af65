// The machine as a plugin sees it that is a program of its own.
import { delimiter } from 'node:path'
import type { Host, Plugin } from '../types.ts'

/** What only some plugins need is loaded when it is used. */
export function programHost(env: Readonly<Record<string, string | undefined>>): Host {
  const binDirs = (env['CNI_PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  let rules: Promise<Pick<Host, 'changeRules' | 'settleRules'>> | undefined
  const changes: Parameters<Host['changeRules']>[] = []
  return {
    addressDir: '/var/lib/cni/networks',
    log: { warn: (fields, message) => console.error(message, fields) },
    changeRules: (family, change) => void changes.push([family, change]),
    settleRules: async (signal) => {
      if (changes.length === 0) return
      rules ??= openRules()
      const { changeRules, settleRules } = await rules
      for (const change of changes.splice(0)) changeRules(...change)
      await settleRules(signal)
    },
    plugin: (type) =>
      laterPlugin(async () => {
        const { executablePlugin } = await import('../libcni/executable.ts')
        return executablePlugin(type, binDirs)
      }),
  }
}

async function openRules(): Promise<Pick<Host, 'changeRules' | 'settleRules'>> {
  const [{ createRules }, { collectRules }] = await Promise.all([import('../iptables.ts'), import('../pod-rules.ts')])
  return collectRules({ 4: createRules(4, undefined), 6: createRules(6, undefined) })
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
