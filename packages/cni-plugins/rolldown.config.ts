// The plugins as one program, with all that it uses but native code; what only some plugins need is in files of its own.
import { join } from 'node:path'
import type { BuildOptions, Plugin } from 'rolldown'

/** Native packages stay where `@nodelet/linux` has them. */
const native: Plugin = {
  name: 'native',
  resolveId: (id) => (['koffi', 'netlink'].includes(id) ? `\0native:${id}` : undefined),
  load: (id) => {
    const [, name] = /^\0native:(.*)$/.exec(id) ?? []
    if (name === undefined) return undefined
    return `import { createRequire } from 'node:module'
      module.exports = createRequire(import.meta.resolve('@nodelet/linux'))(${JSON.stringify(name)})`
  },
}

const source = join(import.meta.dirname, 'src')
/** @param dir where the files go */
export const programs = (dir: string): BuildOptions => ({
  input: join(source, 'bin/main.ts'),
  platform: 'node',
  resolve: { conditionNames: ['@nodelet/source', 'node', 'import', 'default'] },
  treeshake: { moduleSideEffects: (id) => id.startsWith(join(source, 'bin')) },
  plugins: [native],
  output: { dir, cleanDir: true, chunkFileNames: '[name].js', minify: true },
  logLevel: 'warn',
})

const config: BuildOptions = programs(join(import.meta.dirname, 'dist/bin'))
export default config
