import { MiddlewareConsumer, Module, NestModule } from '@nestjs/common';

import { ConnectionCounter, StatsController } from './connections';
import { FeedController } from './feed.controller';
import { XxxController } from './xxx.controller';

@Module({ controllers: [XxxController, FeedController, StatsController] })
export class AppModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(ConnectionCounter).forRoutes('{*path}');
  }
}
