import { defineConfig } from 'vitest/config'

const config: ReturnType<typeof defineConfig> = defineConfig({
  resolve: { conditions: ['@nodelet/source', 'node', 'import', 'default'] },
  ssr: { resolve: { conditions: ['@nodelet/source', 'node', 'import', 'default'] } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'tools/test/**/*.test.ts', 'test/**/*.test.ts'],
    isolate: false,
    // Forks, not threads: namespaces and working directories belong to a thread group or its main thread.
    pool: 'forks',
    // Most tests wait for the kernel and for programs: two at a time are done in little more than half the time.
    maxWorkers: 2,
    execArgv: ['--conditions=@nodelet/source'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})

export default config
