import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { BaseSequencer } from 'vitest/node'
import type { TestSpecification } from 'vitest/node'

/** Guests are slow and keep one of the workers: begun last they would have the other wait. */
class GuestsFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const [guests, others] = [true, false].map((wanted) =>
      sorted.filter(({ moduleId }) => /guest|cgroup-v2/.test(moduleId) === wanted),
    )
    return [...(guests ?? []), ...(others ?? [])]
  }
}

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
    sequence: { sequencer: GuestsFirst },
    execArgv: ['--conditions=@nodelet/source'],
    // Programs that tests start from their sources begin in half the time.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, 'node_modules/.cache/compiled') },
    // What is waited for comes when it comes: a busy machine is no defect.
    expect: { poll: { timeout: 20_000 } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})

export default config
