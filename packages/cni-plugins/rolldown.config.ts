// The plugins as one program in one file, with all that it uses but native code. Modules, those of Node too, run when something of
// them is used: that is most of the time that a short program takes.
import { builtinModules, createRequire } from 'node:module'
import { join } from 'node:path'
import type { BuildOptions, Plugin } from 'rolldown'

/** Native code stays where `@nodelet/linux` has it; the part for this machine by itself loads in half the time. */
const native: Plugin = {
  name: 'native',
  resolveId: (id) => (id === 'koffi' ? `\0native:${id}` : undefined),
  load: (id) => {
    const [, name] = /^\0native:(.*)$/.exec(id) ?? []
    if (name === undefined) return undefined
    return `const { createRequire } = require('node:module')
      const name = ${JSON.stringify(name)}
      const from = createRequire(require.resolve('@nodelet/linux'))
      const part = () => createRequire(from.resolve(name))(\`@koromix/\${name}-linux-\${process.arch}\`)
      let loaded
      const of = () => { try { return (loaded ??= part()) } catch { return (loaded = from(name)) } }
      module.exports = {
        get load() { return of().load },
        get struct() { return of().struct },
        get errno() { return of().errno },
      }`
  },
}

const load = createRequire(import.meta.url)
/** Those that Node has loaded anyway. */
const loaded = new Set(['fs', 'path', 'module', 'process'])

/** Each name of a module of Node stands for it, and loads it. */
const builtins: Plugin = {
  name: 'builtins',
  resolveId: (id) => {
    const name = id.replace(/^node:/, '')
    return builtinModules.includes(name) && !loaded.has(name) ? `\0builtin:${name}` : undefined
  },
  load: (id) => {
    const [, name] = /^\0builtin:(.*)$/.exec(id) ?? []
    if (name === undefined) return undefined
    const names = Object.keys(load(`node:${name}`) as object)
    const getters = names.map((each) => `get ${each}() { return of().${each} }`)
    return `const of = () => process.getBuiltinModule(${JSON.stringify(`node:${name}`)})
      module.exports = { ${getters.join(', ')} }`
  },
}

const source = join(import.meta.dirname, 'src')
/** @param dir where the files go */
export const programs = (dir: string): BuildOptions => ({
  input: join(source, 'bin/main.ts'),
  platform: 'node',
  resolve: { conditionNames: ['@nodelet/source', 'node', 'import', 'default'] },
  treeshake: { moduleSideEffects: (id) => id.startsWith(join(source, 'bin')) },
  plugins: [native, builtins],
  output: {
    dir,
    cleanDir: true,
    format: 'cjs',
    entryFileNames: '[name].cjs',
    chunkFileNames: '[name].cjs',
    minify: true,
    codeSplitting: false,
  },
  logLevel: 'warn',
})

const config: BuildOptions = programs(join(import.meta.dirname, 'dist/bin'))
export default config
